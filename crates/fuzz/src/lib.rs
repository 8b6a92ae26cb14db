//! What the fuzz targets do with an input. Each asserts what must hold whatever the bytes are.
//!
//! | target | input | must hold |
//! | --- | --- | --- |
//! | [`datagrams`] | steps: datagrams of clients and strangers, real, damaged, forged, replayed; packets from SCION; revocations; time | every packet has one fate, nothing is delivered that its client did not send, limits hold |
//! | [`scion_view`] | a SCION packet | the verdict and fields of sciparse, and of snap-dataplane's policy |
//! | [`cbpf`] | a datagram and a group of sockets | the kernel's programs name the socket that userspace names |
//! | [`configuration`] | a configuration file | complaints name a line of it; what is accepted is accepted again as `snapgate check` prints it |
//! | [`identities`] | a file of identities | the same identities as a derived parser reads |
//!
//! `scripts/fuzz.sh` runs them. The inputs in `corpus/` are replayed without a fuzzer by `cargo test`.

pub mod cbpf;
mod cbpf_machine;
pub mod configuration;
pub mod datagrams;
pub mod identities;
pub mod scion_view;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use snapgate::config::{Authorization, Config, Forward};
    use snapgate::gateway::{Gateway, StartError};
    use snapgate::keys::PrivateKey;

    /// As many files as a directory can have for people to look through.
    const FILES_MAX: usize = 100;

    fn replay(target: &str, run: fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        let mut files: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(
            (1..FILES_MAX).contains(&files.len()),
            "{} files",
            files.len()
        );
        for file in files {
            // The name of the input that fails is the last one printed.
            println!("{}", file.display());
            run(&fs::read(&file).unwrap());
        }
    }

    #[test]
    fn the_corpus_of_datagrams_holds() {
        replay("datagrams", super::datagrams::run);
    }

    #[test]
    fn the_corpus_of_the_scion_view_holds() {
        replay("scion_view", super::scion_view::run);
    }

    #[test]
    fn the_corpus_of_the_kernels_programs_holds() {
        replay("cbpf", super::cbpf::run);
    }

    #[test]
    fn the_corpus_of_configuration_files_holds() {
        replay("configuration", super::configuration::run);
    }

    #[test]
    fn the_corpus_of_identities_files_holds() {
        replay("identities", super::identities::run);
    }

    /// Here and nowhere else a gateway is built with the mock clock, which the shard's target needs.
    #[test]
    fn a_gateway_whose_clock_stands_still_does_not_start() {
        let config = Config::new(
            "127.0.0.1:0".parse().unwrap(),
            PrivateKey::generate().unwrap(),
            Authorization::AnyIdentity,
            Forward::Echo,
        );
        let refused = Gateway::start(&config).err();
        assert!(
            matches!(refused, Some(StartError::FrozenClock)),
            "{refused:?}"
        );
    }
}
