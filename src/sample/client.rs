//! The client: its settings, and one sync from the first message to the report.
//!
//! `session` is the client's role in the protocol, `http` one POST. Files are worked on off the async threads.

mod http;
mod session;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::syncml::{Form, InvalidDocument};

use super::conversation::Sizes;
use super::message::{Incomplete, Version};
use super::store::{Kind, Store};
use session::{Session, Step};

/// What a [`Client`] is told.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where its first message goes: an `http://` address.
    pub url: String,
    /// Its own address, by which the server knows it. Default `sample-client`.
    pub device: String,
    /// The user. Default `alice`.
    pub user: String,
    /// The password. Default `secret`.
    pub password: String,
    /// The address of the server's database. Default `./contacts`.
    pub database: String,
    /// In which form messages are written. Default WBXML.
    pub form: Form,
    /// Which version is spoken. Default 1.2.
    pub version: Version,
    /// Whether credentials are only shown when the server has asked for them. Default no.
    pub wait_for_challenge: bool,
    /// The largest message taken, in bytes, as MaxMsgSize announces it. Default 65536.
    pub max_message: usize,
    /// The largest item taken, in bytes, as MaxObjSize announces it. Default 4 MiB.
    pub max_object: usize,
    /// How long an answer may take. Default 1 minute.
    pub timeout: Duration,
}

impl ClientConfig {
    /// The defaults, with a server's address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            device: "sample-client".into(),
            user: "alice".into(),
            password: "secret".into(),
            database: "./contacts".into(),
            form: Form::Wbxml,
            version: Version::default(),
            wait_for_challenge: false,
            max_message: 64 << 10,
            max_object: 4 << 20,
            timeout: Duration::from_secs(60),
        }
    }

    fn sizes(&self) -> Sizes {
        Sizes { message: self.max_message, object: self.max_object }
    }
}

impl fmt::Debug for ClientConfig {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("url", &self.url)
            .field("device", &self.device)
            .field("user", &self.user)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// One message and its answer, as they went over the wire.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Where the message went.
    pub url: &'a str,
    /// Its Content-Type, and what the answer's has to be.
    pub content_type: &'static str,
    /// The message.
    pub request: &'a [u8],
    /// HTTP status code of the answer.
    pub status: u16,
    /// Content-Type of the answer, empty if it has none.
    pub response_type: &'a str,
    /// The answer.
    pub response: &'a [u8],
}

/// Items by what happened to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New items.
    pub added: usize,
    /// Items with new content.
    pub replaced: usize,
    /// Items that are gone.
    pub deleted: usize,
}

impl Counts {
    fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Add => self.added += 1,
            Kind::Replace => self.replaced += 1,
            Kind::Delete => self.deleted += 1,
        }
    }
}

/// What a sync did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether all items were compared, not only the changes sent.
    pub slow: bool,
    /// Changes of the client's that the server took.
    pub sent: Counts,
    /// Changes of the server's that the client took.
    pub received: Counts,
    /// How many messages the client sent.
    pub messages: usize,
}

/// Why a sync failed. What was exchanged before is kept; the next sync goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The server does not accept the credentials: Status 401 or 407 for the SyncHdr.
    #[error("the server does not accept the credentials (status {0})")]
    Credentials(u16),
    /// The server refuses the message: another Status for the SyncHdr.
    #[error("the server refuses the message with status {code}{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    Refused {
        /// The Status.
        code: u16,
        /// The text that came with it.
        reason: Option<String>,
    },
    /// The server does not sync the database: the Status for the Alert.
    #[error("the server does not sync this database (status {0})")]
    Database(u16),
    /// The server closed a package without what belongs into it.
    #[error("the server did not send {0}")]
    Missing(&'static str),
    /// The answer is no SyncML document.
    #[error("the answer cannot be read: {0}")]
    Invalid(#[from] InvalidDocument),
    /// The answer is no SyncML message.
    #[error("the answer is no message: {0}")]
    Incomplete(#[from] Incomplete),
    /// The answer is of another session.
    #[error("the answer is of another session")]
    OtherSession,
    /// The address to send to is none.
    #[error("{0:?} is no http address")]
    Address(String),
    /// The server answered with an HTTP error, or not with SyncML.
    #[error("the server answered with HTTP status {status} and {content_type:?}: {text}")]
    Http {
        /// HTTP status code.
        status: u16,
        /// Content-Type.
        content_type: String,
        /// The start of the body.
        text: String,
    },
    /// No answer came.
    #[error("no answer came: {0}")]
    Connection(Box<dyn std::error::Error + Send + Sync>),
    /// The answer took too long.
    #[error("no answer came in time")]
    Timeout,
    /// The files cannot be used.
    #[error("the files cannot be used: {0}")]
    Files(#[from] io::Error),
}

/// Which sync to ask for. The server can make a slow one of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Changes since the last sync; all items when there was none.
    TwoWay,
    /// All items.
    Slow,
}

/// A SyncML DS client over one directory of vCard files.
///
/// What it knows of a server is kept beside the directory, in a file with its name and `.sync.json`.
#[derive(Clone, Debug)]
pub struct Client {
    directory: PathBuf,
    /// What it was told.
    pub config: ClientConfig,
}

/// More messages than any sync of a directory takes.
const MAX_MESSAGES: usize = 100_000;

/// What a sync works on.
struct Work {
    store: Store,
    session: Session,
}

impl Client {
    /// A client for the `.vcf` files of a directory, which is made if there is none.
    pub fn new(directory: impl Into<PathBuf>, config: ClientConfig) -> Self {
        Self { directory: directory.into(), config }
    }

    /// Runs one sync. `observe` sees each message with its answer, when the answer has come.
    pub async fn sync(&self, mode: Mode, observe: &mut (dyn FnMut(Exchange<'_>) + Send)) -> Result<Report, SyncError> {
        let transport = http::Transport::new(self.config.timeout);
        let mut messages = 0;
        let (mut work, mut step) = self.open(mode).await?;
        loop {
            let request = match step {
                Step::Send(request) => request,
                Step::Done(report) => return Ok(Report { messages, ..report }),
                // The server remembers another sync than this client: both start over.
                Step::StartOver => {
                    (work, step) = self.open(Mode::Slow).await?;
                    continue;
                }
            };
            let url = work.session.url().to_owned();
            let content_type = super::server::content_type(self.config.form);
            let response = transport.post(&url, content_type, request.clone()).await?;
            messages += 1;
            if messages > MAX_MESSAGES {
                return Err(SyncError::Missing("an end"));
            }
            observe(Exchange {
                url: &url,
                content_type,
                request: &request,
                status: response.status,
                response_type: &response.content_type,
                response: &response.body,
            });
            let response = response.message(content_type)?;
            (work, step) = off_thread(move || {
                let step = work.session.hear(&mut work.store, &response)?;
                Ok((work, step))
            })
            .await?;
        }
    }

    async fn open(&self, mode: Mode) -> Result<(Work, Step), SyncError> {
        let (directory, config) = (self.directory.clone(), self.config.clone());
        off_thread(move || {
            let mut store = Store::open(&directory)?;
            let (session, first) = Session::open(&mut store, config, mode)?;
            Ok((Work { store, session }, Step::Send(first)))
        })
        .await
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SyncError> + Send + 'static,
) -> Result<T, SyncError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
