//! The process that writes to a file: `snapgate write-output`, started by `snapgate run`.
//!
//! It copies from the pipe to the file by read(2) and write(2). splice(2) would hold the lock of the pipe while it waits
//! for the storage, and the gateway's writes to the pipe would wait for that lock, uninterruptibly as well.
//!
//! A report is the number of lines that could not be written, in total, as 8 bytes. The first one says that the process
//! is ready.

use std::io;

use nix::sys::signal::SigSet;
use rustix::io::{read, retry_on_intr, write};

use super::stream::Stream;
use crate::logging::{self, LogFormat};

/// Length of a report. Reports are written and read whole, because a pipe never splits a write of this length.
pub(super) const REPORT_BYTES: usize = size_of::<u64>();

/// The capacity of a pipe (pipe(7)).
const BUFFER_BYTES: usize = 64 << 10;

/// Returns the number in the last of several reports.
pub(super) fn parse_report(reports: &[u8]) -> Option<u64> {
    reports.last_chunk().copied().map(u64::from_le_bytes)
}

/// Copies standard input to standard error until it ends, and reports to standard output, which is non-blocking.
///
/// # Errors
///
/// Standard input cannot be read, or signals cannot be blocked.
pub(crate) fn serve(format: LogFormat) -> io::Result<()> {
    // A service manager sends them to every process of the service, and a terminal to every process in front. SIGXFSZ
    // would come with the error of a write.
    SigSet::all().thread_block()?;
    let mut reported = None;
    let mut report = |lost: u64| {
        // Fails if the gateway has ended, or does not read the reports; then with the next one.
        if reported != Some(lost) && write(Stream::Output.descriptor(), &lost.to_le_bytes()).is_ok()
        {
            reported = Some(lost);
        }
    };
    let mut file = LineWriter::new(
        |bytes: &[u8]| Ok(retry_on_intr(|| write(Stream::Error.descriptor(), bytes))?),
        |lines| logging::dropped_line(format, lines),
    );
    let mut buffer = vec![0; BUFFER_BYTES];
    report(0);
    loop {
        match retry_on_intr(|| read(Stream::Input.descriptor(), &mut buffer[..]))? {
            0 => break,
            length => file.put(&buffer[..length]),
        }
        report(file.lost);
    }
    file.end();
    report(file.lost);
    Ok(())
}

/// Writes lines to a file that may be full for a while. A line that cannot be written whole counts as lost. The next line
/// that can be written follows a line about the number of lost ones.
struct LineWriter<W, L> {
    /// write(2) to the file.
    write: W,
    /// Returns the line about a number of lost lines.
    loss: L,
    /// True if the last byte of the file is not the end of a line.
    is_in_line: bool,
    /// True if the rest of the current line is dropped.
    is_dropping: bool,
    /// Number of lost lines.
    lost: u64,
    /// Number of lost lines that the file mentions.
    mentioned: u64,
}

impl<W, L> LineWriter<W, L>
where
    W: FnMut(&[u8]) -> io::Result<usize>,
    L: Fn(u64) -> String,
{
    const fn new(write: W, loss: L) -> Self {
        Self {
            write,
            loss,
            is_in_line: false,
            is_dropping: false,
            lost: 0,
            mentioned: 0,
        }
    }

    /// Writes or drops bytes, which may begin and end within a line.
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.is_dropping {
                bytes = self.drop_line(bytes);
                continue;
            }
            let written = self.mention_loss().and_then(|()| self.write_some(bytes));
            match written {
                Ok(length) => bytes = &bytes[length..],
                Err(_) => self.is_dropping = true,
            }
        }
    }

    /// Writes about lost lines after the last one. To be called when there are no more lines.
    fn end(&mut self) {
        self.lost += u64::from(self.is_dropping);
        // Fails if the file is still full.
        let _ = self.mention_loss();
    }

    /// Drops the rest of the current line, and returns the bytes behind it.
    fn drop_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                self.is_dropping = false;
                self.lost += 1;
                &bytes[end + 1..]
            }
            None => &[],
        }
    }

    /// Writes about lost lines that are not mentioned yet. The next byte to be written begins a line then.
    fn mention_loss(&mut self) -> io::Result<()> {
        if self.lost == self.mentioned {
            return Ok(());
        }
        let end_of_line = if self.is_in_line { "\n" } else { "" };
        let line = format!("{end_of_line}{}", (self.loss)(self.lost - self.mentioned));
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            rest = &rest[self.write_some(rest)?..];
        }
        self.mentioned = self.lost;
        Ok(())
    }

    /// Returns the number of bytes that the file has taken, at least one.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = (self.write)(bytes)?;
        let last = length.checked_sub(1).ok_or(io::ErrorKind::WriteZero)?;
        self.is_in_line = bytes[last] != b'\n';
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    /// A file on a disk with limited space.
    #[derive(Default)]
    struct Disk {
        content: Vec<u8>,
        space: usize,
    }

    impl Disk {
        /// write(2), which writes less than it could at the end of the space.
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.space);
            if length == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.content.extend(&bytes[..length]);
            self.space -= length;
            Ok(length)
        }
    }

    fn loss(lines: u64) -> String {
        format!("lost {lines}\n")
    }

    /// Puts pieces, each after the disk got room for a number of bytes. Returns the file and the number of lost lines.
    fn write(pieces: &[(usize, &str)]) -> (String, u64) {
        let disk = RefCell::new(Disk::default());
        let mut writer = LineWriter::new(|bytes: &[u8]| disk.borrow_mut().write(bytes), loss);
        for (space, piece) in pieces {
            disk.borrow_mut().space += space;
            writer.put(piece.as_bytes());
        }
        writer.end();
        let lost = writer.lost;
        let content = String::from_utf8(disk.into_inner().content).unwrap();
        (content, lost)
    }

    #[test]
    fn everything_is_written_while_there_is_room() {
        let (content, lost) = write(&[(100, "one\ntw"), (0, "o\n"), (0, "memory allocation")]);
        assert_eq!(content, "one\ntwo\nmemory allocation");
        assert_eq!(lost, 0);
    }

    #[test]
    fn lines_without_room_are_lost_and_mentioned_before_the_next_line() {
        let (content, lost) = write(&[(4, "one\n"), (0, "two\nthree\n"), (100, "four\n")]);
        assert_eq!(content, "one\nlost 2\nfour\n");
        assert_eq!(lost, 2);
    }

    #[test]
    fn a_line_that_was_begun_is_lost_and_the_next_one_begins_a_line() {
        let (content, lost) = write(&[(6, "one\ntwo\nthree"), (0, "\n"), (100, "four\n")]);
        assert_eq!(content, "one\ntw\nlost 2\nfour\n");
        assert_eq!(lost, 2);
    }

    #[test]
    fn the_rest_of_a_lost_line_is_dropped_when_there_is_room_again() {
        let (content, lost) = write(&[(1, "one"), (100, " and more"), (0, " of it\ntwo\n")]);
        assert_eq!(content, "o\nlost 1\ntwo\n");
        assert_eq!(lost, 1);
    }

    #[test]
    fn a_mention_without_room_is_written_again() {
        let (content, lost) = write(&[(0, "one\n"), (3, "two\n"), (100, "three\n")]);
        assert_eq!(content, "los\nlost 2\nthree\n");
        assert_eq!(lost, 2);
    }

    #[test]
    fn the_loss_of_the_last_lines_is_mentioned_at_the_end() {
        let disk = RefCell::new(Disk::default());
        let mut writer = LineWriter::new(|bytes: &[u8]| disk.borrow_mut().write(bytes), loss);
        writer.put(b"one\ntwo");
        disk.borrow_mut().space = 100;
        writer.end();
        assert_eq!(writer.lost, 2);
        assert_eq!(disk.into_inner().content, b"lost 2\n");
    }

    #[test]
    fn the_last_of_several_reports_counts() {
        let reports = [1_u64, 7, 300].map(u64::to_le_bytes).concat();
        assert_eq!(parse_report(&reports), Some(300));
        assert_eq!(parse_report(&[]), None);
    }

    proptest! {
        /// Each line is in the file, whole and in order, or lost.
        #[test]
        fn every_line_is_written_or_counted(
            lines in prop::collection::vec("[a-z]{0,12}", 0..40),
            cuts in prop::collection::vec((0..60_usize, 0..40_usize), 0..40),
        ) {
            let numbered: String = lines
                .iter()
                .enumerate()
                .map(|(number, line)| format!("{number:02}{line};\n"))
                .collect();
            let mut rest = numbered.as_str();
            let mut pieces = Vec::new();
            for (length, space) in cuts {
                let (piece, behind) = rest.split_at(length.min(rest.len()));
                pieces.push((space, piece));
                rest = behind;
            }
            pieces.push((10_000, rest));
            pieces.push((0, "end\n"));
            let (content, lost) = write(&pieces);
            prop_assert!(content.ends_with("end\n"), "{content}");
            let all: Vec<_> = numbered.lines().collect();
            let whole: Vec<_> = content.lines().filter(|line| all.contains(line)).collect();
            prop_assert!(whole.is_sorted(), "{content}");
            let mentions = content.lines().filter(|line| line.starts_with('l'));
            let sum: u64 = mentions
                .clone()
                .filter_map(|line| line.strip_prefix("lost ")?.parse::<u64>().ok())
                .sum();
            // The file can have a part of a mention before the whole one.
            prop_assert!(sum >= lost, "{content}");
            let found = whole.len() as u64 + lost;
            prop_assert!(found >= all.len() as u64, "{content}");
            // A lost line looks whole if only its end is missing; a mention follows.
            prop_assert!(found <= (all.len() + mentions.count()) as u64, "{content}");
        }
    }
}
