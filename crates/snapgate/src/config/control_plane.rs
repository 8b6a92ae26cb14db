//! Configuration of a control plane.

use std::sync::Arc;

use snapgate_control::registry::RegistrySettings;
use snapgate_control::rpc::ControlSettings;
use snapgate_control::token::Verifier;

/// The control plane of a gateway.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlaneConfig {
    pub(crate) server: ControlSettings,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) registry: RegistrySettings,
}
