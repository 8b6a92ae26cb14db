//! Test of the examples in a Markdown document: runs its `console` blocks and compares their output.
//!
//! `docs/CONTRIBUTING.md` describes the directives for blocks.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{PATIENCE, own_address};

/// Commands that read files of background processes. They are repeated until their output is as documented.
const READERS: [&str; 4] = ["cat ", "grep ", "journalctl ", "tail "];

/// First ephemeral port (`ip_local_port_range`). Documented ports from here on are lowered by [`PORT_OFFSET`].
const EPHEMERAL_PORTS: u16 = 32_768;
const PORT_OFFSET: u16 = 20_000;

/// Interval at which commands of [`READERS`] are repeated.
const READ_INTERVAL: Duration = Duration::from_millis(50);

/// Capacity of the queue of output lines. Beyond it, the pipe of bash buffers the output.
const OUTPUT_LINES: usize = 1024;

/// Length of a key of 32 bytes in base64, with padding.
const KEY_CHARS: usize = 44;

/// Part of a document that is tested, with the number of its first line.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    /// File to write.
    File { name: String, content: String },
    /// Commands that the document does not show.
    Setup { line: usize, commands: String },
    /// Console block to run.
    Block {
        line: usize,
        is_measured: bool,
        commands: Vec<Example>,
    },
}

/// Command with its documented output.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Example {
    command: String,
    output: Vec<String>,
}

/// Runs the examples of the document at `path` in a temporary directory, where `programs` are commands. `127.0.0.1` is
/// replaced with another loopback address, so that tests do not share ports.
///
/// # Panics
///
/// If an output differs, a command fails, or a comment before a block is unknown.
pub fn check_examples(path: &Path, programs: &[(&str, &Path)]) {
    let text = fs::read_to_string(path).expect("the document can be read");
    let parts = parse(&text).unwrap_or_else(|error| panic!("{}:{error}", path.display()));
    if parts.is_empty() {
        return;
    }
    let mut shell = Shell::start(programs);
    for part in &parts {
        match part {
            Part::File { name, content } => {
                let content = shell.addresses.localize(content);
                fs::write(shell.directory.path().join(name), content).expect("a file is written");
            }
            Part::Setup { line, commands } => {
                let (output, code) = shell.run(commands);
                assert_eq!(code, 0, "{}:{line}: setup: {output}", path.display());
            }
            Part::Block {
                line,
                is_measured,
                commands,
            } => {
                for example in commands {
                    if let Err(difference) = shell.check(example, *is_measured) {
                        panic!("{}:{line}: {difference}", path.display());
                    }
                }
            }
        }
    }
}

/// Reads the tested parts of a document.
fn parse(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut lines = (1..).zip(text.lines());
    // Last line that is not blank, and the comment that ended there, if any.
    let mut before = "";
    let mut comment = None;
    while let Some((number, line)) = lines.next() {
        if line.starts_with("<!--") {
            let mut body = line.to_owned();
            while !body.contains("-->") {
                let (_, more) = lines
                    .next()
                    .ok_or(format!("{number}: comment without end"))?;
                body = body + "\n" + more;
            }
            let body = body.trim_start_matches("<!--").trim_end_matches("-->");
            if let Some(commands) = body.trim_start().strip_prefix("setup\n") {
                parts.push(Part::Setup {
                    line: number,
                    commands: commands.to_owned(),
                });
            } else {
                comment = Some(body.trim().to_owned());
            }
            continue;
        }
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let mut content = Vec::new();
            loop {
                let (_, line) = lines.next().ok_or(format!("{number}: block without end"))?;
                if line.trim_start().starts_with("```") {
                    break;
                }
                content.push(line);
            }
            match language {
                "console" => parts.extend(block(number, &content, comment.as_deref())?),
                "toml" => parts.extend(file_name(before).map(|name| Part::File {
                    name: name.to_owned(),
                    content: content.join("\n") + "\n",
                })),
                _ => {}
            }
        }
        if !line.trim().is_empty() {
            comment = None;
            before = line;
        }
    }
    Ok(parts)
}

/// Parses a console block; `None` if the comment before it is `not run: REASON`.
fn block(line: usize, content: &[&str], comment: Option<&str>) -> Result<Option<Part>, String> {
    let mut is_measured = false;
    let mut replacements = Vec::new();
    match comment {
        Some(comment) if comment.starts_with("not run: ") => return Ok(None),
        Some(comment) => {
            let directives = comment.strip_prefix("test: ");
            let directives = directives.ok_or(format!("{line}: unknown comment {comment:?}"))?;
            for directive in directives.split(';').map(str::trim) {
                let replacement: Vec<&str> = directive.split('`').collect();
                match replacement[..] {
                    ["measured"] => is_measured = true,
                    ["", from, " is ", to, ""] => replacements.push((from, to)),
                    _ => return Err(format!("{line}: unknown directive {directive:?}")),
                }
            }
        }
        None => {}
    }
    let mut commands: Vec<Example> = Vec::new();
    let mut continues = false;
    for text in content {
        if let Some(command) = text.strip_prefix("$ ") {
            commands.push(Example {
                command: command.to_owned(),
                output: Vec::new(),
            });
        } else {
            let last = commands.last_mut();
            let last = last.ok_or(format!("{line}: a console block begins with `$ `"))?;
            if continues {
                last.command = format!("{}\n{text}", last.command);
            } else {
                last.output.push((*text).to_owned());
                continue;
            }
        }
        continues = text.ends_with('\\');
    }
    for (from, to) in replacements {
        let mut is_used = false;
        for example in &mut commands {
            is_used |= example.command.contains(from);
            example.command = example.command.replace(from, to);
        }
        if !is_used {
            return Err(format!("{line}: no command contains {from:?}"));
        }
    }
    Ok(Some(Part::Block {
        line,
        is_measured,
        commands,
    }))
}

/// Returns the file name in a line such as "Save this as `snapgate.toml`:".
fn file_name(line: &str) -> Option<&str> {
    let name = line.strip_suffix(':')?.rsplit('`').nth(1)?;
    (!name.contains(['/', ' ']) && name.ends_with(".toml")).then_some(name)
}

/// Map between the loopback addresses of the document and of the test.
struct Addresses {
    own: IpAddr,
}

impl Addresses {
    fn localize(&self, text: &str) -> String {
        let own = self.own.to_string();
        Self::replace(text, "127.0.0.1", &own, |port| {
            if port < EPHEMERAL_PORTS {
                port
            } else {
                port - PORT_OFFSET
            }
        })
    }

    fn document(&self, text: &str) -> String {
        let own = self.own.to_string();
        Self::replace(text, &own, "127.0.0.1", |port| match port {
            31_820 => 51_820,
            port => port,
        })
    }

    fn replace(text: &str, from: &str, to: &str, change: impl Fn(u16) -> u16) -> String {
        let mut pieces = text.split(from);
        let mut replaced = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            replaced += to;
            let digits = piece.strip_prefix(':').unwrap_or_default();
            let end = digits.find(|c: char| !c.is_ascii_digit());
            let port = &digits[..end.unwrap_or(digits.len())];
            match port.parse() {
                Ok(number) => {
                    write!(replaced, ":{}", change(number)).unwrap();
                    replaced += &piece[1 + port.len()..];
                }
                Err(_) => replaced += piece,
            }
        }
        replaced
    }
}

/// A bash process in a temporary directory. Drop kills it and the background processes of its commands.
struct Shell {
    directory: TempDir,
    addresses: Addresses,
    bash: Child,
    stdin: ChildStdin,
    output: Receiver<String>,
}

impl Shell {
    fn start(programs: &[(&str, &Path)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let bin = directory.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, program) in programs {
            symlink(program, bin.join(name)).unwrap();
        }
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut bash = Command::new("bash")
            .args(["--noprofile", "--norc", "-s"])
            .current_dir(directory.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", directory.path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().expect("a pipe"))
            .stderr(writer)
            .process_group(0)
            .spawn()
            .expect("bash runs");
        let (sender, output) = sync_channel(OUTPUT_LINES);
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            directory,
            addresses: Addresses {
                own: own_address().ip(),
            },
            stdin: bash.stdin.take().expect("a pipe"),
            bash,
            output,
        }
    }

    /// Runs commands, and returns their output and exit code.
    fn run(&mut self, commands: &str) -> (String, i32) {
        const END: &str = "@end-of-command@";

        let commands = self.addresses.localize(commands);
        // Commands must not consume the rest of the script.
        writeln!(
            self.stdin,
            "{{\n{commands}\n}} </dev/null\nprintf '\\n{END}%d\\n' $?"
        )
        .expect("bash reads");
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(line) => {
                    if let Some(code) = line.strip_prefix(END) {
                        let code = code.parse().expect("an exit code");
                        // The line break before the end.
                        if lines.last().is_some_and(String::is_empty) {
                            lines.pop();
                        }
                        return (self.addresses.document(&lines.join("\n")), code);
                    }
                    lines.push(line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no end of {commands:?} within {PATIENCE:?}: {lines:#?}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("bash ended in {commands:?}: {lines:#?}")
                }
            }
        }
    }

    /// Runs an example, and returns the difference to the documented output as an error.
    fn check(&mut self, example: &Example, is_measured: bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (output, code) = self.run(&example.command);
            let found: Vec<&str> = output.lines().collect();
            if code == 0 && matches(&example.output, &found, is_measured) {
                return Ok(());
            }
            let is_reader = READERS
                .iter()
                .any(|reader| example.command.starts_with(reader));
            if !is_reader || Instant::now() > deadline {
                return Err(format!(
                    "`{}` ended with {code}\n--- documented\n{}\n--- printed\n{output}\n",
                    example.command,
                    example.output.join("\n")
                ));
            }
            thread::sleep(READ_INTERVAL);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.bash.id().cast_signed());
        // Fails if all processes have exited.
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.bash.wait();
    }
}

/// Returns true if the printed lines match the documented ones, in which `...` stands for any number of lines.
fn matches(documented: &[String], printed: &[&str], is_measured: bool) -> bool {
    let trim = |lines: &[String]| {
        let end = lines.iter().rposition(|line| !line.is_empty());
        lines[..end.map_or(0, |end| end + 1)].to_vec()
    };
    let normal = |line: &str| normalize(line, is_measured);
    let documented: Vec<_> = documented.iter().map(|line| normal(line)).collect();
    let printed: Vec<_> = printed.iter().map(|line| normal(line)).collect();
    lines_match(&trim(&documented), &trim(&printed))
}

fn lines_match(documented: &[String], printed: &[String]) -> bool {
    match documented {
        [] => printed.is_empty(),
        [first, rest @ ..] if first == "..." => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        [first, rest @ ..] => printed.first() == Some(first) && lines_match(rest, &printed[1..]),
    }
}

/// Replaces parts that differ between runs: keys, and in measured output numbers, their units and column widths.
fn normalize(line: &str, is_measured: bool) -> String {
    let line = replace_keys(line.trim_end());
    if !is_measured {
        return line;
    }
    let mut words: Vec<String> = Vec::new();
    for word in replace_numbers(&line).split_whitespace() {
        let word = without_prefix_of_unit(word);
        // 100 000 is one number.
        if word != "N" || words.last().is_none_or(|last| last != "N") {
            words.push(word);
        }
    }
    words.join(" ")
}

fn replace_keys(line: &str) -> String {
    let is_key_char = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let mut replaced = String::new();
    let mut rest = line;
    while let Some(end) = rest.find('=') {
        let start = rest[..end]
            .rfind(|c| !is_key_char(c))
            .map_or(0, |before| before + 1);
        if end + 1 - start == KEY_CHARS {
            replaced += &rest[..start];
            replaced += "KEY";
        } else {
            replaced += &rest[..=end];
        }
        rest = &rest[end + 1..];
    }
    replaced + rest
}

/// Replaces each number, such as 1, 0.5 or 14:05:00, with N.
fn replace_numbers(line: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let is_digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let mut replaced = String::new();
    let mut at = 0;
    while at < chars.len() {
        if !is_digit(at) {
            replaced.push(chars[at]);
            at += 1;
            continue;
        }
        while is_digit(at) || (matches!(chars.get(at), Some('.' | ',' | ':')) && is_digit(at + 1)) {
            at += 1;
        }
        replaced.push('N');
    }
    replaced
}

/// Replaces ms with s, kpps with pps, and so on.
fn without_prefix_of_unit(word: &str) -> String {
    let (number, unit) = word
        .strip_prefix('N')
        .map_or(("", word), |unit| ("N", unit));
    let bare = unit.trim_end_matches([',', ')']);
    let base = match bare {
        "ns" | "µs" | "ms" => "s",
        "kpps" | "Mpps" => "pps",
        "kbit/s" | "Mbit/s" | "Gbit/s" => "bit/s",
        other => other,
    };
    format!("{number}{base}{}", &unit[bare.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed_matches(documented: &str, printed: &str, is_measured: bool) -> bool {
        let documented: Vec<String> = documented.lines().map(str::to_owned).collect();
        let printed: Vec<&str> = printed.lines().collect();
        matches(&documented, &printed, is_measured)
    }

    #[test]
    fn measured_output_may_differ_in_numbers_units_and_widths() {
        let documented = "sent   100 000  20.0 kpps\np50 25.8 µs (best)";
        assert!(printed_matches(
            documented,
            "sent  200  200 pps\np50 1.2 ms (best)\n",
            true
        ));
        assert!(!printed_matches(
            documented,
            "sent  200  200 pps\np50 1.2 ms (worst)\n",
            true
        ));
        assert!(!printed_matches(
            documented,
            "sent  200  200 pps\np50 1.2 ms (best)\n",
            false
        ));
    }

    #[test]
    fn keys_may_differ_in_any_output() {
        let key = |c: &str| format!("key {}=", c.repeat(KEY_CHARS - 1));
        assert!(printed_matches(&key("a"), &key("B"), false));
        assert!(!printed_matches(&key("a"), "key aa=", false));
    }

    #[test]
    fn three_dots_stand_for_any_lines() {
        assert!(printed_matches("a\n...\nd", "a\nb\nc\nd", false));
        assert!(printed_matches("a\n...", "a", false));
        assert!(!printed_matches("a\n...\nd", "a\nb", false));
    }

    #[test]
    fn documents_have_files_setups_and_blocks() {
        let text = "\
Save `a.toml`:

```toml
x = 1
```

<!-- setup
touch b
-->

<!-- test: measured; `--rate 5k` is `--rate 5` -->
```console
$ run \\
    --rate 5k
1 line
```

<!-- not run: too long -->
```console
$ sleep 1d
```
";
        let expected = [
            Part::File {
                name: "a.toml".to_owned(),
                content: "x = 1\n".to_owned(),
            },
            Part::Setup {
                line: 7,
                commands: "touch b\n".to_owned(),
            },
            Part::Block {
                line: 12,
                is_measured: true,
                commands: vec![Example {
                    command: "run \\\n    --rate 5".to_owned(),
                    output: vec!["1 line".to_owned()],
                }],
            },
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn unknown_comment_is_an_error() {
        let text = "<!-- test: measred -->\n```console\n$ true\n```\n";
        assert!(parse(text).is_err());
    }

    #[test]
    fn loopback_addresses_are_replaced_and_restored() {
        let addresses = Addresses {
            own: "127.130.1.2".parse().unwrap(),
        };
        let documented = "127.0.0.1:51820 http://127.0.0.1:9820/metrics 127.0.0.1 10.0.0.1:1";
        let localized = "127.130.1.2:31820 http://127.130.1.2:9820/metrics 127.130.1.2 10.0.0.1:1";
        assert_eq!(addresses.localize(documented), localized);
        assert_eq!(addresses.document(localized), documented);
    }
}
