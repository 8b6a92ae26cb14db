//! The bodies of the fuzz targets. Each asserts properties that hold for all inputs.
//!
//! | target | input | asserted properties |
//! | --- | --- | --- |
//! | [`datagrams`] | steps: genuine, damaged, forged and replayed datagrams; packets from SCION; revocations; time | every packet has one fate, only packets that their client sent are delivered, limits hold |
//! | [`scion_view`] | a SCION packet | verdict and fields equal those of sciparse and of snap-dataplane's policy |
//! | [`cbpf`] | a datagram and a group of sockets | the kernel programs pick the socket that userspace picks |
//! | [`configuration`] | a configuration file | errors name a line; accepted settings are accepted again as `snapgate check` prints them |
//! | [`identities`] | a file of identities | the identities equal those of a derived parser |
//! | [`rpc`] | a request to the control plane, an answer of the endhost API, or a certificate | bodies mean what a second parser reads; errors are Connect errors; answers are passed on unchanged |
//! | [`token`] | a token, or a header and claims to sign | only signed tokens are accepted, and only with claims that allow it |
//!
//! `scripts/fuzz.sh` runs the targets. `cargo test` replays the inputs in `corpus/` without a fuzzer.

pub mod cbpf;
mod cbpf_machine;
pub mod configuration;
pub mod datagrams;
pub mod identities;
pub mod rpc;
pub mod scion_view;
pub mod token;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use snapgate::config::{Authorization, Config, Forward};
    use snapgate::gateway::{Gateway, StartError};
    use snapgate::keys::PrivateKey;

    /// Upper bound of the number of files in a corpus, which keeps it reviewable.
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
            // The last printed name belongs to the failing input.
            println!("{}", file.display());
            run(&fs::read(&file).unwrap());
        }
    }

    #[test]
    fn the_datagrams_corpus_passes() {
        replay("datagrams", super::datagrams::run);
    }

    #[test]
    fn the_scion_view_corpus_passes() {
        replay("scion_view", super::scion_view::run);
    }

    #[test]
    fn the_cbpf_corpus_passes() {
        replay("cbpf", super::cbpf::run);
    }

    #[test]
    fn the_configuration_corpus_passes() {
        replay("configuration", super::configuration::run);
    }

    #[test]
    fn the_identities_corpus_passes() {
        replay("identities", super::identities::run);
    }

    #[test]
    fn the_rpc_corpus_passes() {
        replay("rpc", super::rpc::run);
    }

    #[test]
    fn the_token_corpus_passes() {
        replay("token", super::token::run);
    }

    /// Only this crate builds a gateway with the mock clock, which the target `datagrams` needs.
    #[test]
    fn a_gateway_with_a_frozen_clock_does_not_start() {
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
