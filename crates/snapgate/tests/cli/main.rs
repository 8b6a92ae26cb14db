//! Tests of the command line: output, errors and exit codes of the binary.
#![expect(
    clippy::unwrap_used,
    reason = "clippy regards only functions with #[test] as tests, not their helpers"
)]

mod check;
mod closed_pipe;
mod keys;
mod log;
mod precedence;
mod run;
mod usage;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Alice's private key (clamped) and public key, and Bob's public key, from RFC 7748, section 6.1.
const PRIVATE_KEY: &str = "cAdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LGo=";
const PUBLIC_KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const PEER: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

/// Working directory of the binary.
struct Workspace {
    directory: tempfile::TempDir,
}

impl Workspace {
    /// Creates a directory with a private key, an identities file and a valid configuration.
    fn new() -> Self {
        let workspace = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        workspace.write("private.key", format!("{PRIVATE_KEY}\n"));
        workspace.write(
            "identities.toml",
            format!("[[identity]]\npublic_key = \"{PEER}\"\n"),
        );
        workspace.write("valid.toml", VALID);
        workspace
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file with mode 0600.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Returns a command in this directory with an empty environment.
    fn snapgate(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapgate"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear();
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.snapgate(arguments))
    }

    /// Runs `snapgate check` for a configuration with the given text.
    fn check(&self, text: impl AsRef<[u8]>) -> Outcome {
        self.write("x.toml", text);
        self.run(&["check", "--config", "x.toml"])
    }
}

/// A valid configuration, which uses only files of the workspace.
const VALID: &str = "\
private_key_file = \"private.key\"
identities = \"identities.toml\"
listen = [\"127.0.0.1:0\"]
internal = \"127.0.0.1:30100\"

[next_hop]
\"1-ff00:0:110#1\" = \"127.0.0.1:31002\"
";

/// Exit code and output of the binary.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Outcome {
    fn of(mut command: Command) -> Self {
        Self::from(command.stdin(Stdio::null()).output().unwrap())
    }

    fn of_input(mut command: Command, input: &str) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A child that rejects its input early closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Self::from(child.wait_with_output().unwrap())
    }

    fn from(output: Output) -> Self {
        let outcome = Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!outcome.err.contains("panicked"), "{outcome:?}");
        assert!(
            !outcome.out.contains(PRIVATE_KEY) && !outcome.err.contains(PRIVATE_KEY),
            "{outcome:?}"
        );
        outcome
    }

    /// Asserts success, and returns the standard output.
    fn success(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:#?}");
        &self.out
    }

    /// Asserts exit code 2 with one error for each of `starts`.
    fn rejected_with(&self, starts: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:#?}");
        assert_eq!(self.out, "", "{self:#?}");
        let errors: Vec<&str> = self.err.lines().collect();
        assert_eq!(errors.len(), starts.len(), "{self:#?}");
        for (error, start) in errors.iter().zip(starts) {
            assert!(
                error.starts_with(&format!("error: {start}")),
                "{error}\nerror: {start}"
            );
        }
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
