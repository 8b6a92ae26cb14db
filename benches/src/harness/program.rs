//! Executables of snapgate: the flags of a build, and a command line for it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::error::BenchError;

/// Time limit of `--version` and `--help`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval at which the exit of the program is polled.
const ANSWER_POLL: Duration = Duration::from_millis(5);

/// Maximum number of bytes read from a program. The help of `snapgate run` has 11 KiB.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Prefix of the output of `snapgate --version`.
const VERSION_PREFIX: &str = "snapgate ";

/// Maximum indentation of flags in a help text of clap; descriptions are indented further.
const FLAG_INDENT_MAX: usize = 6;

/// An executable of snapgate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    /// Absolute path.
    pub(crate) path: PathBuf,
    /// Output of `--version`.
    pub(crate) version: String,
    /// Flags of `snapgate run`, without dashes.
    flags: BTreeSet<String>,
}

impl Program {
    /// Runs `--version` and `run --help` of `path`.
    ///
    /// Errors: [`BenchError::NotSnapgate`] if it cannot be executed or is another program.
    pub(crate) fn inspect(path: &Path) -> Result<Self, BenchError> {
        let absolute =
            std::path::absolute(path).map_err(|error| not_snapgate(path, error.to_string()))?;
        let answer = |arguments: &[&str]| {
            answer(Command::new(&absolute).args(arguments), ANSWER_TIMEOUT).map_err(|reason| {
                not_snapgate(&absolute, format!("`{}`: {reason}", arguments.join(" ")))
            })
        };
        let version = answer(&["--version"])?;
        // Other programs are not started with `run`.
        let version = version_line(&version).map_err(|reason| not_snapgate(&absolute, reason))?;
        let flags = flags_in_help(&answer(&["run", "--help"])?);
        if flags.is_empty() {
            return Err(not_snapgate(
                &absolute,
                "`run --help` lists no flags".to_owned(),
            ));
        }
        Ok(Self {
            version: version.to_owned(),
            flags,
            path: absolute,
        })
    }

    /// Returns the command line of `settings`, without optional flags that this build does not have.
    ///
    /// Errors: [`BenchError::MissingFlag`].
    pub(crate) fn command_line(&self, settings: &[Setting]) -> Result<Vec<String>, BenchError> {
        let mut arguments = vec!["run".to_owned()];
        for setting in settings {
            if self.flags.contains(setting.flag) {
                arguments.push(format!("--{}", setting.flag));
                arguments.extend(setting.value.clone());
            } else if setting.required {
                return Err(BenchError::MissingFlag {
                    path: self.path.clone(),
                    flag: setting.flag,
                });
            }
        }
        Ok(arguments)
    }

    /// Returns the flags of `settings` that this build does not have.
    pub(crate) fn missing(&self, settings: &[Setting]) -> impl Iterator<Item = &'static str> {
        settings
            .iter()
            .map(|setting| setting.flag)
            .filter(|flag| !self.flags.contains(*flag))
    }

    /// Returns true if both are the same file, possibly under two names.
    pub(crate) fn is_same_file(&self, other: &Self) -> Result<bool, BenchError> {
        let identity = |program: &Self| {
            let metadata =
                fs::metadata(&program.path).map_err(|error| cannot_read(program, error))?;
            Ok::<_, BenchError>((metadata.dev(), metadata.ino()))
        };
        Ok(identity(self)? == identity(other)?)
    }

    /// Returns true if both files have the same content.
    pub(crate) fn has_same_content(&self, other: &Self) -> Result<bool, BenchError> {
        let content =
            |program: &Self| fs::read(&program.path).map_err(|error| cannot_read(program, error));
        Ok(content(self)? == content(other)?)
    }
}

/// A setting of `snapgate run`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    /// Name, without dashes.
    flag: &'static str,
    value: Option<String>,
    /// A build without the flag cannot be measured.
    required: bool,
}

impl Setting {
    /// Returns a flag without which a measurement is not possible or not comparable.
    pub(crate) fn required(flag: &'static str, value: &dyn Display) -> Self {
        Self {
            flag,
            value: Some(value.to_string()),
            required: true,
        }
    }

    /// Returns a required flag without a value.
    pub(crate) fn required_switch(flag: &'static str) -> Self {
        Self {
            flag,
            value: None,
            required: true,
        }
    }

    /// Returns a flag that is left out for builds without it, such as one that raises a limit.
    pub(crate) fn optional(flag: &'static str, value: &dyn Display) -> Self {
        Self {
            required: false,
            ..Self::required(flag, value)
        }
    }
}

fn not_snapgate(path: &Path, reason: String) -> BenchError {
    BenchError::NotSnapgate {
        path: path.to_owned(),
        reason,
    }
}

fn cannot_read(program: &Program, source: std::io::Error) -> BenchError {
    BenchError::Read {
        path: program.path.clone(),
        source,
    }
}

/// Returns the first line of the output of `--version`, or the reason why it is not from snapgate.
fn version_line(answer: &str) -> Result<&str, String> {
    let line = answer.lines().next().unwrap_or_default().trim();
    if line.starts_with(VERSION_PREFIX) {
        Ok(line)
    } else {
        Err(format!("`--version` prints {line:?}"))
    }
}

/// Returns the long flags listed in a help text of clap, without dashes.
///
/// Descriptions and examples mention flags, too. Listed flags differ by their indentation, and by what follows them: a
/// placeholder (`<FILE>`, `[=<true|false>]`), a gap, or the end of the line.
fn flags_in_help(help: &str) -> BTreeSet<String> {
    help.lines()
        .filter_map(|line| {
            let text = line.trim_start();
            if line.len() - text.len() > FLAG_INDENT_MAX {
                return None;
            }
            // `-h, --help`
            let text = match text.as_bytes() {
                [b'-', short, b',', b' ', ..] if short.is_ascii_alphanumeric() => &text[4..],
                _ => text,
            };
            let text = text.strip_prefix("--")?;
            let end = text
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .unwrap_or(text.len());
            let (flag, rest) = text.split_at(end);
            let listed =
                rest.trim().is_empty() || [" <", "[=", "  "].iter().any(|s| rest.starts_with(s));
            (listed && !flag.is_empty()).then(|| flag.to_owned())
        })
        .collect()
}

/// Returns the standard output of a program that exits successfully within `timeout`, or the reason for its failure.
fn answer(command: &mut Command, timeout: Duration) -> Result<String, String> {
    let deadline = Instant::now() + timeout;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (sender, receiver) = mpsc::sync_channel(1);
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            let mut answer = Vec::new();
            let read = output.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
            // Fails after the timeout, when the receiver is gone.
            let _unwanted = sender.send(read.map(|_| answer));
        });
    }
    let answer = receiver.recv_timeout(timeout);
    let status = loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => thread::sleep(ANSWER_POLL),
            status => break status,
        }
    };
    match (status, answer) {
        (Ok(Some(status)), Ok(Ok(answer))) if ExitStatus::success(&status) => {
            Ok(String::from_utf8_lossy(&answer).into_owned())
        }
        (Ok(Some(status)), Ok(Ok(_))) => Err(status.to_string()),
        (Err(error), _) | (_, Ok(Err(error))) => Err(error.to_string()),
        (Ok(_), _) => {
            // Fails if the program has already exited.
            let _exited = child.kill();
            let _reaped = child.wait();
            Err(format!("no answer within {} s", timeout.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "\
Run the gateway until SIGINT or SIGTERM

Usage: snapgate run [OPTIONS]

Options:
      --config <FILE>  Read settings from this TOML file
  -h, --help           Print help

Tunnels:
      --allow-any-identity[=<true|false>]
          Let everyone who knows the public key open a tunnel; without
          --identities
      --one-tunnel
          An identity has one tunnel

Workers:
      --cpus <LIST|auto|none>   The CPU of each worker, such as 0-3,8
                                --pinned <N> was its name
      --no-gro                  Receive one datagram at a time

Examples:
  snapgate run --private-key-file private.key \\
      --internal 10.0.0.5:30100 --topology /etc/scion/topology.json
";

    fn program(flags: &[&str]) -> Program {
        Program {
            path: PathBuf::from("/old/snapgate"),
            version: "snapgate 0.1.0".to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        }
    }

    #[test]
    fn flags_in_descriptions_and_examples_are_ignored() {
        let found: Vec<String> = flags_in_help(HELP).into_iter().collect();
        assert_eq!(
            found,
            [
                "allow-any-identity",
                "config",
                "cpus",
                "help",
                "no-gro",
                "one-tunnel"
            ]
        );
    }

    #[test]
    fn optional_flags_are_left_out_for_builds_without_them() {
        let settings = [
            Setting::required("cpus", &0),
            Setting::optional("limit", &7),
            Setting::required_switch("allow-any-identity"),
        ];
        let new = program(&["cpus", "limit", "allow-any-identity"]);
        assert_eq!(
            new.command_line(&settings).unwrap(),
            ["run", "--cpus", "0", "--limit", "7", "--allow-any-identity"]
        );
        assert_eq!(new.missing(&settings).count(), 0);
        let old = program(&["cpus", "allow-any-identity"]);
        assert_eq!(
            old.command_line(&settings).unwrap(),
            ["run", "--cpus", "0", "--allow-any-identity"]
        );
        assert_eq!(old.missing(&settings).collect::<Vec<_>>(), ["limit"]);
    }

    #[test]
    fn missing_required_flag_is_an_error() {
        let error = program(&["cpu"])
            .command_line(&[Setting::required("cpus", &0)])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot measure /old/snapgate: its `run --help` does not list --cpus"
        );
    }

    #[test]
    fn other_files_are_rejected_with_the_reason() {
        let text = tempfile::NamedTempFile::new().unwrap();
        let other_program = std::env::current_exe().unwrap();
        for (path, reason) in [
            (Path::new("/no/such/file"), "No such file"),
            (Path::new("/"), "Permission denied"),
            (text.path(), "Permission denied"),
            // This test program exits with an error, since it does not know `--version`.
            (&other_program, "exit status"),
        ] {
            let message = Program::inspect(path).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!(
                    "{} is not an executable snapgate: `--version`: ",
                    path.display()
                )),
                "{message}"
            );
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn version_line_must_begin_with_the_name() {
        assert_eq!(version_line("snapgate 0.1.0\n"), Ok("snapgate 0.1.0"));
        for other in ["snapload 0.1.0\n", "snapgateway 1\n", ""] {
            assert!(version_line(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn program_without_an_answer_is_killed_after_the_timeout() {
        let error = answer(Command::new("sleep").arg("1000"), Duration::ZERO).unwrap_err();
        assert_eq!(error, "no answer within 0 s");
    }

    #[test]
    fn hard_links_are_the_same_file_and_copies_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| Program {
            path: directory.path().join(name),
            ..program(&[])
        };
        let (file, link, copy, other) = (at("file"), at("link"), at("copy"), at("other"));
        fs::write(&file.path, "content").unwrap();
        fs::hard_link(&file.path, &link.path).unwrap();
        fs::copy(&file.path, &copy.path).unwrap();
        fs::write(&other.path, "other content").unwrap();
        assert!(file.is_same_file(&link).unwrap());
        assert!(!file.is_same_file(&copy).unwrap());
        assert!(file.has_same_content(&copy).unwrap());
        assert!(!file.has_same_content(&other).unwrap());
    }
}
