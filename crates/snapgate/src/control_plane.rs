//! The control plane of a gateway: its server, the registrations, and the thread that ends them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use jiff::Timestamp;
use snapgate_control::registry::{OpenError, Registry as Registrations, RegistryMetrics};
use snapgate_control::rpc::local::check_directory;
use snapgate_control::rpc::{
    ControlFailure, ControlMetrics, ControlPlane, DirectoryError, StartError,
};
use snapgate_control::token::TokenMetrics;
use snapgate_control::{GrantChange, Grants};

use crate::authorization::{Registered, Registration, RegistrationChange, Registry};
use crate::config::control_plane::ControlPlaneConfig;
use crate::identities::Identity;
use crate::lock_release::once_released;

/// Interval at which ended registrations are removed, and stored ones are synced.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// A running control plane. Dropping it stops it.
pub(crate) struct RunningControlPlane {
    server: ControlPlane,
    registrations: Registrations,
    /// Metrics of the server, the registrations and the keys of tokens.
    metrics: ControlPlaneMetrics,
    _expiry: Expiry,
}

/// Metrics of a control plane.
#[derive(Clone)]
pub(crate) struct ControlPlaneMetrics {
    server: ControlMetrics,
    registrations: RegistryMetrics,
    tokens: TokenMetrics,
}

/// A control plane that does not serve yet, with its registrations in force.
pub(crate) struct PreparedControlPlane<'a> {
    config: &'a ControlPlaneConfig,
    registry: Arc<Registry>,
    registrations: Registrations,
}

/// Error of preparing a control plane.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// Other users could replace the registrations.
    #[error("cannot use the state directory {0}")]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Registrations(#[from] OpenError),
}

impl<'a> PreparedControlPlane<'a> {
    /// Opens the registrations, and puts them into force beside the identities of the file.
    pub(crate) fn open(
        config: &'a ControlPlaneConfig,
        identities: &[Identity],
    ) -> Result<Self, PrepareError> {
        if let Some(directory) = &config.server.local_directory {
            check_directory(directory)?;
        }
        let registry = Arc::new(Registry::new(identities));
        let grants = Arc::new(InForce(Arc::clone(&registry)));
        let registrations = once_released(is_in_use, || {
            let grants = Arc::clone(&grants);
            Registrations::open(config.registry.clone(), grants, Timestamp::now())
        })?;
        Ok(Self {
            config,
            registry,
            registrations,
        })
    }

    /// Returns the registry for the data plane.
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Starts to serve.
    pub(crate) fn serve(self) -> Result<RunningControlPlane, StartError> {
        let Self {
            config,
            registry: _,
            registrations,
        } = self;
        let expiry = Expiry::start(registrations.clone()).map_err(StartError::Thread)?;
        let verifier = Arc::clone(&config.verifier);
        let tokens = TokenMetrics::new(Arc::clone(verifier.keys()));
        let server =
            ControlPlane::start(&config.server, verifier, Arc::new(registrations.clone()))?;
        Ok(RunningControlPlane {
            metrics: ControlPlaneMetrics {
                server: server.metrics(),
                registrations: RegistryMetrics::new(registrations.clone()),
                tokens,
            },
            registrations,
            server,
            _expiry: expiry,
        })
    }
}

fn is_in_use<T>(opened: &Result<T, OpenError>) -> bool {
    matches!(opened, Err(OpenError::InUse(_)))
}

impl RunningControlPlane {
    /// Returns the bound addresses.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    pub(crate) fn metrics(&self) -> &ControlPlaneMetrics {
        &self.metrics
    }

    /// Refuses identities that are not registered from now on, since new tunnels would be refused as well.
    pub(crate) fn refuse_new_identities(&self) {
        self.registrations.refuse_new_identities();
    }

    /// Returns the channel that receives a failure of the server.
    pub(crate) fn failures(&self) -> &Receiver<ControlFailure> {
        self.server.failures()
    }
}

impl ControlPlaneMetrics {
    /// Adds the metrics to a page.
    pub(crate) fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        registry.register_collector(Box::new(self.server.clone()));
        registry.register_collector(Box::new(self.registrations.clone()));
        registry.register_collector(Box::new(self.tokens.clone()));
    }
}

/// The metrics of a control plane with a certificate, before it serves.
#[cfg(test)]
impl Default for ControlPlaneMetrics {
    fn default() -> Self {
        let registry = Arc::new(Registry::new(&[]));
        let settings = snapgate_control::registry::RegistrySettings::default();
        let grants = Arc::new(InForce(registry));
        let registrations = Registrations::open(settings, grants, Timestamp::now()).unwrap();
        let keys = snapgate_control::token::KeySet::fixed(
            // RFC 8037, appendix A.2.
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        )
        .unwrap();
        Self {
            server: ControlMetrics::default(),
            registrations: RegistryMetrics::new(registrations),
            tokens: TokenMetrics::new(keys),
        }
    }
}

/// The data plane's registry, where registrations are in force.
struct InForce(Arc<Registry>);

impl Grants for InForce {
    fn apply(&self, changes: &[GrantChange]) {
        let changes: Vec<RegistrationChange> = changes.iter().map(registration_change).collect();
        self.0.apply(&changes);
    }
}

fn registration_change(change: &GrantChange) -> RegistrationChange {
    let registered = change.grant.as_ref().map(|grant| Registered {
        expires: grant.expires,
        registration: Arc::new(Registration {
            pssid: Arc::clone(&grant.pssid.0),
            token_id: Arc::clone(&grant.token.0),
        }),
    });
    RegistrationChange {
        identity: change.identity,
        registered,
    }
}

/// The thread that ends registrations. It ends after this is dropped; it may wait for storage then.
struct Expiry {
    _stop: Sender<()>,
}

impl Expiry {
    fn start(registrations: Registrations) -> io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        thread::Builder::new()
            .name("registrations".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(EXPIRE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    registrations.expire(Timestamp::now());
                }
            })?;
        Ok(Self { _stop: stop })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn in_use() -> OpenError {
        OpenError::InUse(PathBuf::from("registrations"))
    }

    #[test]
    fn a_lock_that_is_released_is_waited_for() {
        let mut answers = [Ok("opened"), Err(in_use()), Err(in_use())].into_iter();
        let opened = once_released(is_in_use, || answers.next_back().unwrap());
        assert!(matches!(opened, Ok("opened")), "{opened:?}");
    }

    #[test]
    fn a_lock_that_is_held_and_other_errors_are_reported() {
        let held = once_released(is_in_use::<()>, || Err(in_use()));
        assert!(matches!(held, Err(OpenError::InUse(_))), "{held:?}");

        let mut attempts = 0;
        let other = once_released(is_in_use::<()>, || {
            attempts += 1;
            Err(OpenError::NotAFile(PathBuf::from("registrations")))
        });
        assert!(matches!(other, Err(OpenError::NotAFile(_))), "{other:?}");
        assert_eq!(attempts, 1);
    }
}
