//! The identities file, read by another process.
//!
//! The argument of a request is the path. The answer to [`VERSION`] is a [`FileVersion`] in JSON;
//! that to [`READ`] is [`TEXT`] and the text, or [`FAULT`] and a [`FileFault`] in JSON.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::file_version::FileVersion;
use crate::config::text_file::FileFault;
use crate::file_process::{self, FileClient, FileProcess, FileTask};
use crate::identities;

const VERSION: u8 = b'v';
const READ: u8 = b'r';

const TEXT: u8 = 0;
const FAULT: u8 = 1;

/// A file that is looked at and read.
pub(super) struct Source {
    path: PathBuf,
    client: FileClient,
}

impl Source {
    /// Starts a process that reads a file. If it cannot be started, the calling thread reads the file.
    pub(super) fn open(path: &Path) -> Self {
        let process = FileProcess::start(FileTask::Identities).inspect_err(|error| {
            tracing::warn!(
                %error,
                hint = "if the storage of the identities file hangs, this process cannot end",
                "cannot start a process for the identities file"
            );
        });
        Self {
            path: path.to_owned(),
            client: FileClient::new(FileTask::Identities, process.ok()),
        }
    }

    /// Returns the version of the file.
    ///
    /// # Errors
    ///
    /// The other process has ended. The next call starts another one.
    pub(super) fn version(&mut self) -> io::Result<FileVersion> {
        let Some(answer) = self.ask(VERSION) else {
            return Ok(FileVersion::of(&self.path));
        };
        Ok(serde_json::from_slice(&answer?)?)
    }

    /// Returns the text of the file, or the reason why it is unusable.
    ///
    /// # Errors
    ///
    /// See [`Self::version`].
    pub(super) fn read(&mut self) -> io::Result<Result<Zeroizing<String>, FileFault>> {
        let Some(answer) = self.ask(READ) else {
            return Ok(identities::read_text(&self.path));
        };
        let mut answer = answer?;
        match answer.first() {
            Some(&TEXT) => {
                let text = String::from_utf8(answer.split_off(1)).map_err(io::Error::other)?;
                Ok(Ok(Zeroizing::new(text)))
            }
            Some(&FAULT) => Ok(Err(serde_json::from_slice(&answer[1..])?)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Returns the answer of the other process, if there is one.
    fn ask(&mut self, operation: u8) -> Option<io::Result<Vec<u8>>> {
        self.client.ask(operation, self.path.as_os_str().as_bytes())
    }
}

/// Reads files for another process, until that ends.
///
/// # Errors
///
/// Those of [`file_process::serve`].
pub(crate) fn serve() -> io::Result<()> {
    file_process::serve(answer)
}

fn answer(operation: u8, path: &[u8]) -> Vec<u8> {
    let path = Path::new(OsStr::from_bytes(path));
    // Neither type has a map with keys that are not strings, so both are representable in JSON.
    match operation {
        VERSION => serde_json::to_vec(&FileVersion::of(path)).unwrap_or_default(),
        READ => match identities::read_text(path) {
            Ok(text) => [&[TEXT], text.as_bytes()].concat(),
            Err(fault) => {
                let fault = serde_json::to_vec(&fault).unwrap_or_default();
                [&[FAULT], fault.as_slice()].concat()
            }
        },
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn ask(operation: u8, path: &Path) -> Vec<u8> {
        answer(operation, path.as_os_str().as_bytes())
    }

    #[test]
    fn versions_texts_and_faults_arrive_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "text").unwrap();
        for path in [file.as_path(), directory.path(), Path::new("/dev/null")] {
            let version: FileVersion = serde_json::from_slice(&ask(VERSION, path)).unwrap();
            assert_eq!(version, FileVersion::of(path));
        }
        assert_eq!(ask(READ, &file), b"\0text");
        let fault = ask(READ, Path::new("/dev/null"));
        let expected = identities::read_text(Path::new("/dev/null")).unwrap_err();
        assert_eq!(fault[0], FAULT);
        assert_eq!(
            serde_json::from_slice::<FileFault>(&fault[1..]).unwrap(),
            expected
        );
    }
}
