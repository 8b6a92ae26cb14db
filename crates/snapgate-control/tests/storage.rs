//! Full and read-only disks. These tests need root, see `testkit::may_mount`.
#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use nix::mount::{MsFlags, mount};
use snapgate_control::registry::{
    Filter, OpenError, Refusal, Registered, Registry, RegistrySettings, RevokeError, Selector,
};
use snapgate_control::{Claims, GrantChange, Grants, Identity, Pssid, TokenId};
use testkit::{Mounts, may_mount};

const DISK_BYTES: u64 = 1 << 20;

/// A data plane that keeps the changes.
#[derive(Default)]
struct Changes(Mutex<Vec<GrantChange>>);

impl Grants for Changes {
    fn apply(&self, changes: &[GrantChange]) {
        self.0.lock().unwrap().extend_from_slice(changes);
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn key(number: u32) -> Identity {
    let mut identity = [0x55; 32];
    identity[..4].copy_from_slice(&number.to_be_bytes());
    identity
}

fn settings(file: &Path) -> RegistrySettings {
    RegistrySettings {
        file: Some(file.to_owned()),
        ..RegistrySettings::default()
    }
}

fn open(file: &Path) -> Result<(Registry, Arc<Changes>), OpenError> {
    let changes = Arc::new(Changes::default());
    let grants = Arc::clone(&changes) as Arc<dyn Grants>;
    Registry::open(settings(file), grants, at(0)).map(|registry| (registry, changes))
}

fn register(registry: &Registry, number: u32) -> Result<Registered, Refusal> {
    let name = format!("{number}");
    let claims = Claims {
        pssid: Pssid((&*name).into()),
        token: TokenId(name.into()),
        expires: at(100),
    };
    registry.register(&claims, key(number), at(0))
}

fn registered(registry: &Registry) -> Vec<Identity> {
    let page = registry.list(None, 1000, &Filter::default());
    page.registrations.iter().map(|one| one.identity).collect()
}

/// A disk of its own. `body` gets its directory.
fn with_disk(test: &str, body: impl FnOnce(&Path) + Send) {
    if !may_mount(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let mounts = Mounts::new();
    mounts.mount_tmpfs(&disk, DISK_BYTES);
    mounts.run(|| body(&disk));
}

/// Fills a disk by a file, and returns its path.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

fn remount(disk: &Path, flags: MsFlags) {
    let flags = flags | MsFlags::MS_REMOUNT;
    mount(None::<&str>, disk, None::<&str>, flags, None::<&str>).unwrap();
}

#[test]
fn registrations_are_refused_while_the_disk_is_full() {
    let name = "registrations_are_refused_while_the_disk_is_full";
    with_disk(name, |disk| {
        let file = disk.join("registrations");
        let (registry, changes) = open(&file).unwrap();
        register(&registry, 0).unwrap();
        let filler = fill(disk);
        // The last block has some room.
        let full = (1..10_000).find(|number| register(&registry, *number).is_err());
        let full = full.unwrap();
        assert_eq!(register(&registry, full), Err(Refusal::NotStored));
        let before = registered(&registry);
        assert_eq!(before.len(), full as usize);
        let given = changes.0.lock().unwrap().len();
        assert_eq!(given, full as usize, "the refused one was never in force");

        // A revocation is in force nevertheless, and stored when there is room.
        let selector = Selector::Identity(key(0));
        let error = registry.revoke(&selector, Some(at(50)), at(0)).unwrap_err();
        assert!(matches!(error, RevokeError::NotStored(_)), "{error}");
        assert_eq!(changes.0.lock().unwrap()[given].grant, None);
        registry.expire(at(0));
        fs::remove_file(filler).unwrap();
        register(&registry, full).unwrap();
        let before = registered(&registry);
        assert_eq!(before.len(), full as usize);
        drop(registry);
        let (registry, _) = open(&file).unwrap();
        assert_eq!(registered(&registry), before);
        assert_eq!(register(&registry, 0), Err(Refusal::IdentityRevoked));
    });
}

#[test]
fn a_file_that_cannot_be_rewritten_on_a_full_disk_stays_in_use() {
    let name = "a_file_that_cannot_be_rewritten_on_a_full_disk_stays_in_use";
    with_disk(name, |disk| {
        let file = disk.join("registrations");
        let (registry, _) = open(&file).unwrap();
        for number in 0..700 {
            register(&registry, number).unwrap();
        }
        for round in 0..6000 {
            let claims = Claims {
                pssid: Pssid("outdated".into()),
                token: TokenId("outdated".into()),
                expires: at(100 + round),
            };
            registry.register(&claims, key(10_000), at(0)).unwrap();
        }
        // Room for a few records, and not for a new file.
        let filler = fill(disk);
        let filled = fs::metadata(&filler).unwrap().len();
        let shrink = File::options().write(true).open(&filler);
        shrink.unwrap().set_len(filled - 8192).unwrap();
        let len = || fs::metadata(&file).unwrap().len();
        let before = len();
        registry.expire(at(0));
        assert_eq!(len(), before);
        register(&registry, 700).unwrap();
        let contents = registered(&registry);
        drop(registry);

        let (registry, _) = open(&file).unwrap();
        assert_eq!(registered(&registry), contents);
        fs::remove_file(filler).unwrap();
        registry.expire(at(0));
        assert!(len() < before / 2);
        drop(registry);
        assert_eq!(registered(&open(&file).unwrap().0), contents);
    });
}

#[test]
fn a_registry_on_a_read_only_disk_is_not_opened() {
    let name = "a_registry_on_a_read_only_disk_is_not_opened";
    with_disk(name, |disk| {
        let file = disk.join("registrations");
        let (registry, _) = open(&file).unwrap();
        register(&registry, 1).unwrap();
        // The kernel refuses this while a file on the disk is open for writing.
        drop(registry);
        remount(disk, MsFlags::MS_RDONLY);
        let Err(error) = open(&file) else {
            panic!("opened on a read-only disk");
        };
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        remount(disk, MsFlags::empty());
        let (registry, _) = open(&file).unwrap();
        assert_eq!(registered(&registry), [key(1)]);
    });
}
