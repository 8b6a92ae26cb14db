//! Session data of tunnels.

use std::sync::Arc;

/// What a client's token says about it. Its traffic is accounted by this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Subscription (claim `pssid`).
    pub pssid: Arc<str>,
    /// ID of the token (claim `jti`).
    pub token_id: Arc<str>,
}

/// Session data of a tunnel: the registration that authorizes it, if one does.
///
/// A tunnel holds it in one word. Packets do not touch it: it appears in the [records](crate::accounting::UsageRecord)
/// of the tunnel's traffic.
///
/// ```
/// use snapgate::authorization::{Registration, SessionData};
///
/// let session_data = SessionData::from(Registration {
///     pssid: "subscriber-17".into(),
///     token_id: "token-4".into(),
/// });
/// assert_eq!(&*session_data.registration().unwrap().pssid, "subscriber-17");
/// assert_eq!(SessionData::default().registration(), None);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionData(Option<Arc<Registration>>);

impl SessionData {
    /// Returns the registration, unless the tunnel is authorized without one.
    pub fn registration(&self) -> Option<&Registration> {
        self.0.as_deref()
    }
}

impl From<Registration> for SessionData {
    fn from(registration: Registration) -> Self {
        Self(Some(Arc::new(registration)))
    }
}

impl From<Arc<Registration>> for SessionData {
    fn from(registration: Arc<Registration>) -> Self {
        Self(Some(registration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_data_are_one_word() {
        assert_eq!(size_of::<SessionData>(), size_of::<usize>());
    }
}
