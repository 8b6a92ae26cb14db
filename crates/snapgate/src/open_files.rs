//! The limit of open files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to the maximum that the process may have. Many systems start processes with 1,024, for
/// the sake of programs that use select(2); a worker has a socket for each router and up to 256 for local hosts.
///
/// # Errors
///
/// The error of setrlimit(2), for example if the maximum is beyond `fs.nr_open`.
pub(crate) fn raise_limit() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}
