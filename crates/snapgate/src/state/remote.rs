//! The files of a state directory, read and written by another process.
//!
//! An answer is [`DONE`] and the result, or [`FAILED`] and an error.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::file_process::{self, FileProcess, FileTask};
use crate::lock_release::once_released;
use crate::state::error::StateError;
use crate::state::files::{Found, LocalFiles, StateFiles};

const OPEN: u8 = b'o';
const READ: u8 = b'r';
const SET_ASIDE: u8 = b'a';
const REPLACE: u8 = b'w';
const ARE_IN_PLACE: u8 = b'p';

const DONE: u8 = 0;
const FAILED: u8 = 1;
/// Answer to [`OPEN`].
const IN_USE: u8 = 2;

/// Answers to [`READ`].
const NOTHING: u8 = 0;
const NOT_A_FILE: u8 = 1;
const CONTENT: u8 = 2;

/// Files that a [`FileProcess`] reads and writes.
pub(crate) struct RemoteFiles {
    directory: PathBuf,
    /// `None` after it has ended; the next request starts another one.
    process: Option<FileProcess>,
}

impl RemoteFiles {
    /// Starts a process that locks a directory. If it cannot be started, the calling thread accesses the files.
    pub(crate) fn open(directory: &Path) -> Result<Box<dyn StateFiles>, StateError> {
        let mut files = Self {
            directory: directory.to_owned(),
            process: None,
        };
        let is_in_use = |opened: &io::Result<Opened>| matches!(opened, Ok(Opened::InUse));
        match once_released(is_in_use, || files.open_once()) {
            Ok(Opened::Locked) => Ok(Box::new(files)),
            Ok(Opened::InUse) => Err(StateError::InUse(directory.to_owned())),
            Ok(Opened::Refused(source)) => Err(StateError::Unwritable {
                directory: directory.to_owned(),
                source,
            }),
            Err(error) => {
                tracing::warn!(
                    %error,
                    hint = "if the storage of the state directory hangs, this process cannot end",
                    "cannot start a process for the state directory"
                );
                LocalFiles::open(directory)
            }
        }
    }

    /// Locks the directory. Fails if the process cannot be started, or does not answer.
    fn open_once(&mut self) -> io::Result<Opened> {
        let process = match &mut self.process {
            Some(process) => process,
            None => self.process.insert(FileProcess::start(FileTask::State)?),
        };
        let answer = process.ask(OPEN, self.directory.as_os_str().as_bytes());
        let opened = answer.and_then(|answer| match answer.as_slice() {
            [DONE] => Ok(Opened::Locked),
            [IN_USE] => Ok(Opened::InUse),
            [FAILED, error @ ..] => Ok(Opened::Refused(file_process::decode_error(error))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        });
        if opened.is_err() {
            process.kill();
            self.process = None;
        }
        opened
    }

    /// Returns the result of a request. Starts another process if the last one has ended.
    fn ask(&mut self, operation: u8, argument: &[u8]) -> io::Result<Vec<u8>> {
        if self.process.is_none() {
            match self.open_once()? {
                Opened::Locked => {}
                Opened::InUse => {
                    self.process = None;
                    return Err(io::ErrorKind::ResourceBusy.into());
                }
                Opened::Refused(error) => {
                    self.process = None;
                    return Err(error);
                }
            }
        }
        let process = self.process.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        match process.ask(operation, argument) {
            Ok(answer) => match answer.split_first() {
                Some((&DONE, result)) => Ok(result.to_vec()),
                Some((&FAILED, error)) => Err(file_process::decode_error(error)),
                _ => Err(io::ErrorKind::InvalidData.into()),
            },
            Err(error) => {
                self.process = None;
                Err(error)
            }
        }
    }
}

enum Opened {
    Locked,
    InUse,
    /// No file can be created in the directory.
    Refused(io::Error),
}

impl StateFiles for RemoteFiles {
    fn read(&mut self) -> io::Result<Found> {
        let mut found = self.ask(READ, &[])?;
        match found.first() {
            Some(&NOTHING) => Ok(Found::Nothing),
            Some(&NOT_A_FILE) => Ok(Found::NotAFile),
            Some(&CONTENT) => Ok(Found::Content(found.split_off(1))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn set_aside(&mut self, name: &str) -> io::Result<()> {
        self.ask(SET_ASIDE, name.as_bytes()).map(drop)
    }

    fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        self.ask(REPLACE, content).map(drop)
    }

    fn are_in_place(&mut self) -> io::Result<bool> {
        Ok(self.ask(ARE_IN_PLACE, &[])? == [1])
    }
}

/// Accesses a state directory for another process, until that ends.
///
/// # Errors
///
/// Those of [`file_process::serve`].
pub(crate) fn serve() -> io::Result<()> {
    let mut files: Option<Box<dyn StateFiles>> = None;
    file_process::serve(|operation, argument| answer(&mut files, operation, argument))
}

fn answer(files: &mut Option<Box<dyn StateFiles>>, operation: u8, argument: &[u8]) -> Vec<u8> {
    if operation == OPEN {
        return match LocalFiles::open(Path::new(OsStr::from_bytes(argument))) {
            Ok(opened) => {
                *files = Some(opened);
                vec![DONE]
            }
            Err(StateError::InUse(_)) => vec![IN_USE],
            Err(StateError::Unwritable { source, .. }) => failure(&source),
            Err(error) => failure(&io::Error::other(error)),
        };
    }
    let Some(files) = files else {
        return failure(&io::ErrorKind::NotConnected.into());
    };
    let result = match operation {
        READ => files.read().map(|found| match found {
            Found::Nothing => vec![NOTHING],
            Found::NotAFile => vec![NOT_A_FILE],
            Found::Content(mut content) => {
                content.insert(0, CONTENT);
                content
            }
        }),
        SET_ASIDE => match std::str::from_utf8(argument) {
            Ok(name) => files.set_aside(name).map(|()| Vec::new()),
            Err(error) => Err(io::Error::other(error)),
        },
        REPLACE => files.replace(argument).map(|()| Vec::new()),
        ARE_IN_PLACE => files.are_in_place().map(|are| vec![are.into()]),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    match result {
        Ok(mut result) => {
            result.insert(0, DONE);
            result
        }
        Err(error) => failure(&error),
    }
}

fn failure(error: &io::Error) -> Vec<u8> {
    [&[FAILED], file_process::encode_error(error).as_slice()].concat()
}

#[cfg(test)]
mod tests;
