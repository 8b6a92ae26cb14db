//! Resolution of the control plane: what clients are told, and which tokens are accepted.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scion_packet::IsdAs;
use serde_json::Value;
use snapgate_control::registry::RegistrySettings;
use snapgate_control::rpc::{
    ControlSettings, EndhostApiSettings, StartError, TlsSettings, check_certificate,
    check_control_plane_url, check_endhost_api,
};
use snapgate_control::token::{JwksUrl, KeySet, KeySource, Verifier};

use super::{DataPlane, Resolver, first_place, strings};
use crate::config::control_plane::ControlPlaneConfig;
use crate::config::fault::Fault;
use crate::config::file::resolve_path;
use crate::config::options::Options;
use crate::config::place::Place;
use crate::config::problem::Warning;
use crate::config::raw::RawValue;
use crate::config::setting::{Scope, Setting};
use crate::config::{Forward, ScionForward, settings, values};

/// Port in examples; that of HTTPS without root.
const EXAMPLE_PORT: u16 = 8443;

/// Name of the file of registrations in the state directory.
const REGISTRATIONS_FILE: &str = "registrations";

impl Resolver {
    /// Resolves the settings of the control plane, if there is one.
    pub(super) fn control_plane(
        &mut self,
        data_plane: &DataPlane<'_>,
        options: &mut Options,
    ) -> Option<ControlPlaneConfig> {
        let setting = &settings::CONTROL_PLANE;
        let parse = |text: &str| values::listen_address(text, EXAMPLE_PORT);
        let Some(listen) = self.all(setting, |value| parse(&value.text)) else {
            self.record(setting, Value::Null, None, Place::Default);
            self.ignore(Scope::ControlPlane, "without --control-plane");
            return None;
        };
        for setting in settings::in_scope(Scope::ControlPlane) {
            self.set(setting, options);
        }
        let place = first_place(&listen);
        let listen: Vec<SocketAddr> = listen.into_iter().map(|(address, _)| address).collect();
        self.record(setting, strings(&listen), None, place.clone());
        if options.allow_any_identity {
            let fault = Fault::AnyIdentityBesideControlPlane(place.clone());
            self.report(None, &settings::ALLOW_ANY_IDENTITY, fault);
        }
        let scion = self.served_ases(data_plane.forward, &place);
        let urls = self.control_plane_urls(&listen, &place);
        let public = self.public_addresses(data_plane.listen);
        let tls = self.certificate();
        if tls.is_none() && !options.behind_proxy {
            self.warn_of_clear_text(&listen);
        }
        if data_plane.state_dir.is_none() {
            self.warnings.push(Warning::RegistrationsNotKept);
        }
        let endhost_api = self.endhost_api(options);
        let keys = self.token_keys();
        let (scion, private_key) = (scion?, data_plane.private_key?);
        let isd_ases = scion
            .local_isd_as
            .iter()
            .copied()
            .map(IsdAs::to_u64)
            .collect();
        let public_key = *private_key.public_key().as_bytes();
        Some(ControlPlaneConfig {
            server: ControlSettings {
                urls,
                endhost_api,
                tls,
                behind_proxy: options.behind_proxy,
                local_directory: data_plane.state_dir.map(Path::to_owned),
                ..ControlSettings::new(listen, public, public_key, isd_ases)
            },
            verifier: Arc::new(Verifier::new(keys?, options.token_rules.clone())),
            registry: RegistrySettings {
                file: data_plane
                    .state_dir
                    .map(|directory| directory.join(REGISTRATIONS_FILE)),
                ..options.registry.clone()
            },
        })
    }

    /// Returns the SCION side, with the ASes that clients are told.
    fn served_ases<'a>(
        &mut self,
        forward: Option<&'a Forward>,
        place: &Place,
    ) -> Option<&'a ScionForward> {
        let forward = forward?;
        let scion = forward.scion();
        if scion.is_none() {
            let fault = Fault::ControlPlaneWithoutScion {
                forward: forward.name(),
            };
            self.report(Some(place.clone()), &settings::CONTROL_PLANE, fault);
        }
        scion
    }

    /// Warns if clients of other hosts send their tokens without encryption.
    fn warn_of_clear_text(&mut self, listen: &[SocketAddr]) {
        let others = listen.iter().filter(|address| !address.ip().is_loopback());
        let others: Vec<String> = others.map(ToString::to_string).collect();
        if !others.is_empty() {
            let addresses = others.join(", ");
            self.warnings
                .push(Warning::ControlPlaneInClearText { addresses });
        }
    }

    /// Returns the URLs that clients are told; none if they are made from the listen addresses.
    fn control_plane_urls(&mut self, listen: &[SocketAddr], place: &Place) -> Vec<String> {
        let setting = &settings::CONTROL_PLANE_URL;
        let parse = |value: &RawValue| {
            let url = values::url(&value.text)?;
            check_control_plane_url(&url)
                .map_err(|error| Fault::ControlPlane(error.to_string()))?;
            Ok(url)
        };
        let Some(urls) = self.all(setting, parse) else {
            let wildcard = listen.iter().find(|address| address.ip().is_unspecified());
            if let Some(&control) = wildcard {
                let fault = Fault::NoControlPlaneUrl { control };
                self.report(Some(place.clone()), &settings::CONTROL_PLANE, fault);
            }
            self.record(setting, Value::Null, None, Place::Default);
            return Vec::new();
        };
        let place = first_place(&urls);
        let urls: Vec<String> = urls.into_iter().map(|(url, _)| url).collect();
        self.record(setting, strings(&urls), None, place);
        urls
    }

    /// Returns the addresses for tunnels that clients are told, one of each IP version.
    fn public_addresses(&mut self, listen: &[SocketAddr]) -> Vec<SocketAddr> {
        let setting = &settings::PUBLIC_ADDRESS;
        let mut told: Vec<SocketAddr> = Vec::new();
        let parse = |text: &str| values::public_address(text, 51820);
        let Some(addresses) = self.all(setting, |value| parse(&value.text)) else {
            for address in listen
                .iter()
                .filter(|address| !address.ip().is_unspecified())
            {
                if !told
                    .iter()
                    .any(|other| other.is_ipv4() == address.is_ipv4())
                {
                    told.push(*address);
                }
            }
            if let Some(&address) = told.iter().find(|address| address.port() == 0) {
                let is_it = |value: &&RawValue| value.text.trim().parse() == Ok(address);
                let values = self.raw.values(&settings::LISTEN).unwrap_or_default();
                let place = values.iter().find(is_it).map(|value| value.place.clone());
                self.report(place, &settings::LISTEN, Fault::ListenPortZero(address));
            }
            if told.is_empty() && !self.is_invalid(&settings::LISTEN) {
                self.report(None, setting, Fault::NoPublicAddress);
            }
            let note = "from listen".to_owned();
            self.record(setting, strings(&told), Some(note), Place::Default);
            return told;
        };
        for (address, place) in &addresses {
            if let Some(&other) = told
                .iter()
                .find(|other| other.is_ipv4() == address.is_ipv4())
            {
                let fault = Fault::TwoPublicAddresses {
                    address: *address,
                    other,
                    family: if address.is_ipv4() { "IPv4" } else { "IPv6" },
                };
                self.report(Some(place.clone()), setting, fault);
            }
            told.push(*address);
        }
        self.record(setting, strings(&told), None, first_place(&addresses));
        told
    }

    fn certificate(&mut self) -> Option<TlsSettings> {
        let (chain_setting, key_setting) = (
            &settings::CONTROL_PLANE_CERTIFICATE,
            &settings::CONTROL_PLANE_PRIVATE_KEY,
        );
        let chain = self.file(chain_setting);
        let key = self.file(key_setting);
        match (chain, key) {
            (Some((chain, place)), Some((key, _))) => {
                let tls = TlsSettings::new(chain, key);
                if let Err(error) = check_certificate(&tls) {
                    let fault = Fault::Certificate(error.to_string());
                    self.report(Some(place), chain_setting, fault);
                }
                Some(tls)
            }
            (Some((_, place)), None) => {
                self.report_without(chain_setting, place, key_setting);
                None
            }
            (None, Some((_, place))) => {
                self.report_without(key_setting, place, chain_setting);
                None
            }
            (None, None) => None,
        }
    }

    /// Reports that a setting is set without another one.
    fn report_without(
        &mut self,
        setting: &'static Setting,
        place: Place,
        partner: &'static Setting,
    ) {
        if self.is_whole && !self.is_invalid(partner) {
            self.report(Some(place), setting, Fault::WithoutPartner(partner));
        }
    }

    fn endhost_api(&mut self, options: &Options) -> Option<EndhostApiSettings> {
        let ca_file = self.file(&settings::ENDHOST_API_CA);
        let setting = &settings::ENDHOST_API;
        let Some((url, place)) = self.one(setting, |value| values::url(&value.text)) else {
            self.record(setting, Value::Null, None, Place::Default);
            return None;
        };
        self.record(setting, url.as_str().into(), None, place.clone());
        if options.endhost_api_token && values::is_clear_text(&url) {
            let fault = Fault::TokenInClearText(url.clone());
            self.report(Some(place.clone()), setting, fault);
        }
        let (ca_file, ca_place) = ca_file.unzip();
        let endhost_api = EndhostApiSettings {
            forward_token: options.endhost_api_token,
            ca_file,
            ..EndhostApiSettings::new(url)
        };
        if let Err(error) = check_endhost_api(&endhost_api) {
            let (setting, place) = match (&error, ca_place) {
                (StartError::Tls(_), Some(ca_place)) => (&settings::ENDHOST_API_CA, ca_place),
                _ => (setting, place),
            };
            let fault = Fault::ControlPlane(error.to_string());
            self.report(Some(place), setting, fault);
        }
        Some(endhost_api)
    }

    /// Returns the keys of tokens, from a file or a URL.
    fn token_keys(&mut self) -> Option<Arc<KeySet>> {
        let (key_setting, set_setting) = (&settings::TOKEN_KEY, &settings::TOKEN_JWKS);
        let key = self.file(key_setting);
        let set = self.one(set_setting, |value| {
            if value.text.contains("://") {
                let url: JwksUrl = value
                    .text
                    .trim()
                    .parse()
                    .map_err(|fault| Fault::TokenKeys(format!("{}: {fault}", value.text)))?;
                let shown = url.to_string();
                Ok((
                    shown,
                    KeySource::JwksUrl {
                        url,
                        refresh_interval: KeySource::REFRESH_INTERVAL,
                    },
                ))
            } else {
                let file = resolve_path(value);
                Ok((file.display().to_string(), KeySource::JwksFile(file)))
            }
        });
        let shown = set.as_ref().map(|((shown, _), _)| shown.as_str());
        let set_place = set
            .as_ref()
            .map_or(Place::Default, |(_, place)| place.clone());
        self.record(set_setting, shown.into(), None, set_place);
        let (setting, source, place) = match (key, set) {
            (Some((_, key_place)), Some((_, place))) => {
                let fault = Fault::TwoTokenKeys(key_place);
                self.report(Some(place), set_setting, fault);
                return None;
            }
            (Some((file, place)), None) => (key_setting, KeySource::PublicKeyFile(file), place),
            (None, Some(((_, source), place))) => (set_setting, source, place),
            (None, None) => {
                let is_invalid = self.is_invalid(key_setting) || self.is_invalid(set_setting);
                if self.is_whole && !is_invalid {
                    self.report(None, key_setting, Fault::NoTokenKeys);
                }
                return None;
            }
        };
        match KeySet::open(source) {
            Ok(keys) => Some(keys),
            Err(error) => {
                self.report(Some(place), setting, Fault::TokenKeys(error.to_string()));
                None
            }
        }
    }

    /// Returns the path in a setting, if it is set, and records it.
    fn file(&mut self, setting: &'static Setting) -> Option<(PathBuf, Place)> {
        let file = self.one(setting, |value| Ok(resolve_path(value)));
        match &file {
            Some((file, place)) => {
                let text = file.display().to_string();
                self.record(setting, text.into(), None, place.clone());
            }
            None => self.record(setting, Value::Null, None, Place::Default),
        }
        file
    }
}
