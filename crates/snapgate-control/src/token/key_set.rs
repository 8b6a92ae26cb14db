//! The keys in force, and how they are kept current.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io, mem};

use arc_swap::ArcSwap;
use closed_enum::closed_enum;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use tokio::sync::{Notify, SetOnce};
use tokio::time::sleep;

use super::jwks_client::{Answer, FetchFault, JwksClient};
use super::jwks_url::JwksUrl;
use super::key_document::{KeyDocument, KeyDocumentFault, SkippedKey};
use super::key_file::{self, KeyFile, KeyFileFault, KeyFormat, Versions};
use super::keys::Keys;
use super::refresh_schedule::RefreshSchedule;

/// Maximum number of skipped keys logged per change.
const SKIPPED_LOGGED: usize = 10;

/// Where keys come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// A file with one Ed25519 public key, in PEM (`BEGIN PUBLIC KEY`) or as a JWK. A key in PEM has no id and verifies
    /// tokens with any `kid`.
    PublicKeyFile(PathBuf),
    /// A file with a JWK set.
    JwksFile(PathBuf),
    /// The URL of a JWK set.
    JwksUrl {
        /// The URL.
        url: JwksUrl,
        /// Longest time between two requests without failures, and so the longest time until a withdrawn key is
        /// refused; at least 1 s. [`KeySource::REFRESH_INTERVAL`] is the usual one.
        refresh_interval: Duration,
    },
}

impl KeySource {
    /// Default interval between requests for a JWK set.
    pub const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
}

/// Why keys cannot be used at the start.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// A file cannot be read, or contains no usable key.
    #[error("file of token keys {}: {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        fault: KeyFileFault,
    },
    /// The root certificates of the host, by which the server of an `https` URL is verified, cannot be loaded.
    #[error(
        "URL of token keys {url}: cannot load the root certificates of this host: {error}; install ca-certificates"
    )]
    RootCertificates {
        /// The URL.
        url: JwksUrl,
        /// The reason.
        error: io::Error,
    },
}

closed_enum! {
    /// Why the keys could not be refreshed, for a metric label.
    pub enum RefreshFailure {
        Unreadable: "unreadable", "the file cannot be read";
        Timeout: "timeout", "the server did not answer in time";
        Unreachable: "unreachable", "no connection to the server, or it broke";
        Status: "status", "the server answered with another status than 200";
        TooLarge: "too_large", "the document is larger than 1 MiB";
        Invalid: "invalid", "the document is not a valid set of keys";
    }
}

/// State of a key set, for metrics.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeySetStatus {
    /// Number of keys in force.
    pub keys: usize,
    /// Number of entries of the JWK set that are not used.
    pub skipped: usize,
    /// When the source was last found to contain the keys in force; `None` before the first success.
    pub last_success: Option<Timestamp>,
    /// Number of failed refreshes since the start.
    pub failures: u64,
    /// Why the last refresh failed; `None` if it succeeded.
    pub last_failure: Option<RefreshFailure>,
}

/// Intervals that only tests change.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between two looks at a file. A change is in force after two to three of them.
    file_poll: Duration,
    /// From a request to an early one.
    early_gap: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            file_poll: Duration::from_millis(400),
            early_gap: Duration::from_secs(10),
        }
    }
}

/// The public keys of the issuer of tokens.
pub struct KeySet {
    source: Source,
    pace: Pace,
    keys: ArcSwap<Keys>,
    progress: Mutex<Progress>,
    /// An early refresh is requested.
    early: Notify,
    /// The first refresh has ended.
    attempted: SetOnce<()>,
}

#[derive(Debug)]
enum Source {
    Fixed,
    File {
        file: Arc<KeyFile>,
        /// The version that was read at the start.
        first: key_file::Version,
    },
    Url {
        client: Box<JwksClient>,
        refresh_interval: Duration,
    },
}

#[derive(Default)]
struct Progress {
    skipped: Vec<SkippedKey>,
    last_success: Option<Timestamp>,
    failures: u64,
    last_failure: Option<RefreshFailure>,
}

impl KeySet {
    /// Opens a source of keys. A file is read now; this blocks. A URL is fetched by [`Self::refresh`]; until it
    /// answers, there are no keys.
    ///
    /// # Errors
    ///
    /// [`KeySetError`].
    pub fn open(source: KeySource) -> Result<Arc<Self>, KeySetError> {
        Self::open_with(source, Pace::default())
    }

    fn open_with(source: KeySource, pace: Pace) -> Result<Arc<Self>, KeySetError> {
        let (path, format) = match source {
            KeySource::PublicKeyFile(path) => (path, KeyFormat::PublicKey),
            KeySource::JwksFile(path) => (path, KeyFormat::JwkSet),
            KeySource::JwksUrl {
                url,
                refresh_interval,
            } => {
                let client = JwksClient::new(url.clone())
                    .map_err(|error| KeySetError::RootCertificates { url, error })?;
                let source = Source::Url {
                    client: Box::new(client),
                    refresh_interval,
                };
                return Ok(Arc::new(Self::without_keys(source, pace)));
            }
        };
        let file = KeyFile { path, format };
        let read = file.read();
        let first = key_file::version(&read);
        let document = read
            .and_then(|content| file.parse(&content))
            .map_err(|fault| KeySetError::File {
                path: file.path.clone(),
                fault,
            })?;
        let file = Arc::new(file);
        let this = Self::without_keys(Source::File { file, first }, pace);
        this.replace(document, Timestamp::now());
        Ok(Arc::new(this))
    }

    /// Makes a set that never changes from a JWK set.
    ///
    /// # Errors
    ///
    /// The document is not a JWK set, contains a private key, or no usable key.
    pub fn fixed(jwk_set: &str) -> Result<Arc<Self>, KeyDocumentFault> {
        let document = KeyDocument::of_jwk_set(jwk_set.as_bytes())?.require_public_keys()?;
        let this = Self::without_keys(Source::Fixed, Pace::default());
        this.replace(document, Timestamp::now());
        Ok(Arc::new(this))
    }

    fn without_keys(source: Source, pace: Pace) -> Self {
        Self {
            source,
            pace,
            keys: ArcSwap::default(),
            progress: Mutex::default(),
            early: Notify::new(),
            attempted: SetOnce::new(),
        }
    }

    /// Keeps the keys current: looks at a file every 0.4 s, and fetches a URL at once and then at intervals. While this
    /// does not run, the keys stay as they are.
    ///
    /// It needs a tokio runtime with I/O and time. A file is read on a thread for blocking calls, of which a file
    /// system that hangs occupies at most one.
    pub async fn refresh(self: Arc<Self>) -> Infallible {
        match &self.source {
            Source::Fixed => std::future::pending().await,
            Source::File { file, first } => self.follow_file(file, first).await,
            Source::Url {
                client,
                refresh_interval,
            } => self.follow_url(client, *refresh_interval).await,
        }
    }

    /// Waits until [`Self::refresh`] has fetched the keys or failed to, which takes at most 10 s from its start.
    pub async fn attempted(&self) {
        if let Source::Url { .. } = self.source {
            self.attempted.wait().await;
        }
    }

    /// Returns the state of the set.
    pub fn status(&self) -> KeySetStatus {
        let keys = self.keys.load().len();
        let progress = self.progress();
        KeySetStatus {
            keys,
            skipped: progress.skipped.len(),
            last_success: progress.last_success,
            failures: progress.failures,
            last_failure: progress.last_failure,
        }
    }

    /// Returns the keys in force.
    pub(super) fn keys(&self) -> arc_swap::Guard<Arc<Keys>> {
        self.keys.load()
    }

    /// Requests a refresh before the next regular one. It does not wait.
    pub(super) fn refresh_early(&self) {
        self.early.notify_one();
    }

    async fn follow_file(&self, file: &Arc<KeyFile>, first: &key_file::Version) -> Infallible {
        let mut versions = Versions::new(first.clone());
        let mut is_valid = true;
        loop {
            sleep(self.pace.file_poll).await;
            let reader = Arc::clone(file);
            let Ok(read) = tokio::task::spawn_blocking(move || reader.read()).await else {
                // The runtime shuts down.
                continue;
            };
            if versions.is_due(key_file::version(&read)) {
                let document = read.and_then(|content| file.parse(&content));
                is_valid = document.is_ok();
                match document {
                    Ok(document) => self.replace(document, Timestamp::now()),
                    Err(fault) => self.note_failure(&fault.into()),
                }
            } else if is_valid && versions.is_unchanged() {
                self.note_success(Timestamp::now());
            }
        }
    }

    async fn follow_url(&self, client: &JwksClient, interval: Duration) -> Infallible {
        let mut schedule = RefreshSchedule::new(interval);
        // Entity tag of the document in force.
        let mut etag = None;
        loop {
            let answer = client.fetch(etag.as_ref()).await;
            let accepted = answer
                .map_err(RefreshFault::from)
                .and_then(|answer| self.accept(answer, &mut etag));
            let wait = match accepted {
                Ok(max_age) => schedule.after_success(max_age),
                Err(fault) => {
                    self.note_failure(&fault);
                    schedule.after_failure()
                }
            };
            // Set by an earlier attempt.
            let _ = self.attempted.set(());
            tokio::select! {
                () = sleep(wait) => {}
                () = self.early_request() => {}
            }
        }
    }

    /// Waits for a request for an early refresh, at least for the gap.
    async fn early_request(&self) {
        sleep(self.pace.early_gap).await;
        self.early.notified().await;
    }

    /// Puts the document of an answer into force. Returns how long it is fresh.
    fn accept(
        &self,
        answer: Answer,
        etag: &mut Option<HeaderValue>,
    ) -> Result<Option<Duration>, RefreshFault> {
        match answer.document {
            Some(document) => {
                self.replace(
                    KeyDocument::of_jwk_set(&document.content)?,
                    Timestamp::now(),
                );
                *etag = document.etag;
            }
            None => self.note_success(Timestamp::now()),
        }
        Ok(answer.max_age)
    }

    /// Puts keys into force. A key that is not among them verifies nothing any more.
    fn replace(&self, document: KeyDocument, now: Timestamp) {
        let KeyDocument { keys, skipped } = document;
        let new = Arc::new(keys);
        // Enforced first, logged later.
        let old = self.keys.swap(Arc::clone(&new));
        let is_first = self.progress().last_success.is_none();
        let skipped_before = mem::replace(&mut self.progress().skipped, skipped.clone());
        self.note_success(now);
        if !is_first && new == old && skipped == skipped_before {
            return;
        }
        tracing::info!(
            source = %self.source,
            keys = new.len(),
            added = new.missing_in(&old),
            removed = old.missing_in(&new),
            skipped = skipped.len(),
            "token keys loaded"
        );
        for key in skipped.iter().take(SKIPPED_LOGGED) {
            tracing::warn!(
                source = %self.source,
                position = key.position,
                kid = key.id.as_deref(),
                reason = %key.reason,
                "token key skipped"
            );
        }
        if new.len() == 0 {
            tracing::error!(source = %self.source, "no token key is left; all tokens are refused");
        }
    }

    fn note_success(&self, now: Timestamp) {
        let ended = {
            let mut progress = self.progress();
            progress.last_success = Some(now);
            progress.last_failure.take()
        };
        if ended.is_some() {
            tracing::info!(source = %self.source, "token keys are current again");
        }
    }

    fn note_failure(&self, fault: &RefreshFault) {
        let kind = fault.kind();
        let previous = {
            let mut progress = self.progress();
            progress.failures += 1;
            progress.last_failure.replace(kind)
        };
        // A failure that lasts is logged once.
        if previous == Some(kind) {
            return;
        }
        let keys = self.keys.load().len();
        if keys == 0 {
            tracing::warn!(
                source = %self.source,
                error = %fault,
                "cannot load token keys; all tokens are refused until it succeeds"
            );
        } else {
            tracing::warn!(
                source = %self.source,
                error = %fault,
                keys,
                "cannot refresh token keys; the previous ones stay in force"
            );
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("source", &self.source)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => f.write_str("fixed keys"),
            Self::File { file, .. } => write!(f, "{}", file.path.display()),
            Self::Url { client, .. } => write!(f, "{}", client.url()),
        }
    }
}

/// Why a refresh failed.
#[derive(Debug, thiserror::Error)]
enum RefreshFault {
    #[error(transparent)]
    File(#[from] KeyFileFault),
    #[error(transparent)]
    Fetch(#[from] FetchFault),
    #[error(transparent)]
    Document(#[from] KeyDocumentFault),
}

impl RefreshFault {
    fn kind(&self) -> RefreshFailure {
        match self {
            Self::File(KeyFileFault::Unreadable(_) | KeyFileFault::NotRegular) => {
                RefreshFailure::Unreadable
            }
            Self::Fetch(FetchFault::Timeout(_)) => RefreshFailure::Timeout,
            Self::Fetch(FetchFault::Unreachable(_)) => RefreshFailure::Unreachable,
            Self::Fetch(FetchFault::Redirect(_) | FetchFault::Status(_)) => RefreshFailure::Status,
            Self::File(KeyFileFault::TooLarge) | Self::Fetch(FetchFault::TooLarge) => {
                RefreshFailure::TooLarge
            }
            Self::File(KeyFileFault::Document(_)) | Self::Document(_) => RefreshFailure::Invalid,
        }
    }
}

#[cfg(test)]
mod tests;
