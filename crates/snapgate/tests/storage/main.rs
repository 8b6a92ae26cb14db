//! Processes on storage that hangs, is full, fails or caches. They need root and `/dev/fuse`; see `testkit::may_mount`.
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

mod caching;
mod failing;
mod full;
mod hanging;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;

use testkit::{Fuse, GatewayProcess, GatewaySetup, Mounts};

/// The gateway of this package with small buffers.
fn gateway() -> GatewaySetup {
    GatewaySetup::new(env!("CARGO_BIN_EXE_snapgate"))
        .argument("--receive-buffer=64KiB")
        .argument("--send-buffer=64KiB")
}

/// A gateway with files on a FUSE file system.
///
/// A process cannot be killed while its storage hangs. So the file system is dropped first: after a pattern with these
/// fields, variables are dropped in reverse order.
struct OnFuse {
    _mounts: Mounts,
    gateway: GatewayProcess,
    fuse: Fuse,
}

impl OnFuse {
    /// Starts a gateway whose state directory is the file system.
    fn with_state(setup: GatewaySetup) -> Self {
        let mounts = Mounts::new();
        let fuse = Fuse::mount(&mounts, &setup.path("state"), 0);
        let setup = setup.mounts(&mounts).argument("--state-dir=state");
        Self::start(mounts, fuse, &setup)
    }

    /// Starts a gateway whose accounting log is the file `records` of the file system.
    fn with_accounting_log(setup: GatewaySetup) -> Self {
        let mounts = Mounts::new();
        let fuse = Fuse::mount(&mounts, &setup.path("accounting"), 0);
        let setup = setup
            .mounts(&mounts)
            .argument("--accounting-log=accounting/records");
        Self::start(mounts, fuse, &setup)
    }

    /// Starts a gateway whose identities file, which must exist in its directory, is moved to the file system. The
    /// kernel caches names and attributes for `cached_for`, in seconds.
    fn with_identities(setup: GatewaySetup, cached_for: u64) -> Self {
        let mounts = Mounts::new();
        let fuse = Fuse::mount(&mounts, &setup.path("network"), cached_for);
        let file = setup.path("identities.toml");
        fuse.write("identities.toml", &fs::read_to_string(&file).unwrap());
        fs::remove_file(&file).unwrap();
        symlink("network/identities.toml", file).unwrap();
        Self::start(mounts.clone(), fuse, &setup.mounts(&mounts))
    }

    /// Starts a gateway whose standard input, output and error are the files `input`, `output` and `log` there.
    fn with_streams(setup: &GatewaySetup) -> Self {
        let mounts = Mounts::new();
        let disk = setup.path("disk");
        let fuse = Fuse::mount(&mounts, &disk, 0);
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true);
        let [input, output, log] = ["input", "output", "log"]
            .map(|name| mounts.run(|| options.open(disk.join(name)).unwrap()));
        let mut command = setup.command();
        command.stdin(input).stdout(output).stderr(log);
        Self {
            _mounts: mounts,
            gateway: setup.start_command(command),
            fuse,
        }
    }

    fn start(mounts: Mounts, fuse: Fuse, setup: &GatewaySetup) -> Self {
        Self {
            _mounts: mounts,
            gateway: setup.start(),
            fuse,
        }
    }
}
