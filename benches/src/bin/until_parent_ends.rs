//! Executes a program that the kernel kills when its parent process ends (PR_SET_PDEATHSIG, prctl(2)).
//!
//! A benchmark that is killed cannot stop its gateways itself.

use std::env;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, set_parent_process_death_signal};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        return fail("usage: until_parent_ends PROGRAM [ARGUMENT]...");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return fail(&format!("cannot set the parent-death signal: {error}"));
    }
    let error = Command::new(&program).args(arguments).exec();
    fail(&format!("cannot run {}: {error}", program.display()))
}

fn fail(why: &str) -> ExitCode {
    let _closed = writeln!(io::stderr(), "until_parent_ends: {why}");
    ExitCode::FAILURE
}
