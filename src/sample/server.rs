//! The DS server: whose message this is, whether it may speak, and which session it belongs to.
//!
//! Here is what comes before a session: HTTP, the form of the document, the version, the credentials. A client that has
//! not shown its credentials leaves nothing behind, so strangers cannot fill the memory. `session` is the sync itself.

mod http;
mod session;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::syncml::{Form, MediaType};

use super::conversation::{Conversation, Extras, Sizes};
use super::document;
use super::message::{AUTH_BASIC, Cred, Message, Version, status};
use super::store::Store;
use session::Session;

/// What a [`Server`] is told.
#[derive(Clone)]
pub struct Config {
    /// The address of the one database. Default `./contacts`.
    pub database: String,
    /// The user whose credentials are asked for. Default `alice`.
    pub user: String,
    /// The password. Default `secret`.
    pub password: String,
    /// The server's own address, absolute, from which RespURI is made. Default: the address that a client's first
    /// message names as its Target, as libsynthesis has it.
    pub url: Option<String>,
    /// The largest message taken from a client, in bytes, as MaxMsgSize announces it. Default 65536.
    pub max_message: usize,
    /// The largest item taken, in bytes, as MaxObjSize announces it. Default 4 MiB.
    pub max_object: usize,
    /// How many sessions there are at once, at most. Default 1000.
    pub max_sessions: usize,
    /// How long a session waits for its next message. Default 5 minutes.
    pub idle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: "./contacts".into(),
            user: "alice".into(),
            password: "secret".into(),
            url: None,
            max_message: 64 << 10,
            max_object: 4 << 20,
            max_sessions: 1000,
            idle: Duration::from_secs(300),
        }
    }
}

impl fmt::Debug for Config {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("database", &self.database).field("user", &self.user).finish_non_exhaustive()
    }
}

/// What the server says to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Content-Type.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    fn message(form: Form, body: Vec<u8>) -> Self {
        Self { status: 200, content_type: content_type(form), body }
    }

    fn failure(status: u16, why: impl Into<String>) -> Self {
        let mut body = why.into();
        body.push('\n');
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into_bytes() }
    }
}

/// The media type of a DS message in a form.
pub(super) fn content_type(form: Form) -> &'static str {
    match form {
        Form::Xml => "application/vnd.syncml+xml",
        Form::Wbxml => "application/vnd.syncml+wbxml",
    }
}

/// A SyncML DS server over one directory of vCard files.
///
/// [`Server::handle`] answers one request and touches no socket; [`Server::serve`] puts HTTP/1.1 around it.
#[derive(Debug)]
pub struct Server {
    config: Config,
    store: Mutex<Store>,
    sessions: Mutex<HashMap<String, Arc<Mutex<Session>>>>,
}

impl Server {
    /// A server over the `.vcf` files of a directory, which is made if there is none. What it knows of its clients is
    /// kept beside, in a file with the directory's name and `.sync.json`.
    ///
    /// Fails when the directory or that file cannot be read.
    pub fn new(directory: impl AsRef<Path>, config: Config) -> io::Result<Self> {
        let store = Mutex::new(Store::open(directory.as_ref())?);
        Ok(Self { config, store, sessions: Mutex::default() })
    }

    /// Answers a request: its Content-Type, its target (the path with its query), its body. Reads and writes files.
    pub fn handle(&self, content_type: &[u8], target: &str, body: &[u8]) -> Answer {
        let Some(MediaType { form, dm: false, .. }) = MediaType::parse(content_type) else {
            return Answer::failure(415, "The sample server takes application/vnd.syncml+xml and +wbxml.");
        };
        let message = match document::read(form, body).map(Message::parse) {
            Ok(Ok(message)) => message,
            Ok(Err(incomplete)) => return Answer::failure(400, format!("This is no SyncML message: {incomplete}.")),
            Err(invalid) => return Answer::failure(400, format!("This document cannot be read: {invalid}.")),
        };
        let id = session_id(target);
        let session = match id {
            Some(id) => match lock(&self.sessions).get(id) {
                Some(session) => Arc::clone(session),
                None => return Answer::failure(404, "There is no such session. Begin a new one."),
            },
            None => match self.admit(form, &message) {
                Ok(session) => session,
                Err(refusal) => return Answer::message(form, refusal),
            },
        };
        let answer = lock(&session).handle(&mut lock(&self.store), &message, body, form);
        match answer {
            Ok(Some(answer)) => Answer::message(form, answer),
            Ok(None) => Answer::failure(404, "This session has ended. Begin a new one."),
            Err(error) => {
                tracing::error!(%error, "the sample server's files cannot be used");
                lock(&self.sessions).retain(|_, other| !Arc::ptr_eq(other, &session));
                Answer::failure(500, "The server's files cannot be used.")
            }
        }
    }

    /// Opens a session for a first message, or says in SyncML why not.
    fn admit(&self, form: Form, message: &Message) -> Result<Arc<Mutex<Session>>, Vec<u8>> {
        let header = &message.header;
        let refuse = |code| self.refusal(form, message, code);
        let version = header.version().ok_or_else(|| {
            let known = Version::ALL.iter().any(|version| version.dtd() == header.dtd);
            refuse(if known { status::PROTOCOL_VERSION } else { status::DTD_VERSION })
        })?;
        self.authenticate(header.cred.as_ref()).map_err(refuse)?;
        let id = new_session_id().ok_or_else(|| refuse(status::UNAVAILABLE))?;
        let base = self.config.url.as_deref().unwrap_or(&header.target);
        let resp_uri = with_session_id(base, &id).ok_or_else(|| refuse(status::NOT_FOUND))?;

        let mut sessions = lock(&self.sessions);
        // A session that is at work is not idle, and whoever is at work on it holds its lock.
        sessions.retain(|_, session| match session.try_lock() {
            Ok(session) => session.touched().elapsed() < self.config.idle && session.device() != header.source,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Poisoned(_)) => false,
        });
        if sessions.len() >= self.config.max_sessions {
            drop(sessions);
            return Err(refuse(status::UNAVAILABLE));
        }
        let conversation = Conversation::answering(form, version, header, self.sizes());
        let session = Arc::new(Mutex::new(Session::new(conversation, self.config.database.clone(), resp_uri)));
        sessions.insert(id, Arc::clone(&session));
        Ok(session)
    }

    /// Basic credentials, compared in constant time.
    fn authenticate(&self, cred: Option<&Cred>) -> Result<(), u16> {
        let cred = cred.ok_or(status::MISSING_CREDENTIALS)?;
        let shown = base64_turbo::STANDARD.decode(cred.data.trim_ascii()).unwrap_or_default();
        let wanted = format!("{}:{}", self.config.user, self.config.password);
        let accepted = cred.scheme == AUTH_BASIC && bool::from(shown.ct_eq(wanted.as_bytes()));
        if accepted { Ok(()) } else { Err(status::INVALID_CREDENTIALS) }
    }

    /// The message that refuses another one: every command in it gets the same Status, and nothing is kept.
    fn refusal(&self, form: Form, message: &Message, code: u16) -> Vec<u8> {
        let header = &message.header;
        let version = header.version().unwrap_or_default();
        let mut conversation = Conversation::answering(form, version, header, self.sizes());
        conversation.hear(header, code);
        for command in message.commands().filter(|command| !matches!(command.name(), "Status" | "Results")) {
            conversation.answer(command, code, None);
        }
        conversation.close();
        conversation.speak(&Extras::default())
    }

    fn sizes(&self) -> Sizes {
        Sizes { message: self.config.max_message, object: self.config.max_object }
    }
}

/// The name of the session in a query.
const SESSION_ID: &str = "sessionid";

/// The session id in the query of a request target.
fn session_id(target: &str) -> Option<&str> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(SESSION_ID)?.strip_prefix('='))
}

/// An absolute http address with the session id in its query, in place of one that is there already.
fn with_session_id(base: &str, id: &str) -> Option<String> {
    let scheme = base.split_once("://")?.0;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (path, query) = base.split_once('?').unwrap_or((base, ""));
    let others = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("sessionid="));
    let query: String = others.map(|pair| format!("{pair}&")).collect();
    Some(format!("{path}?{query}{SESSION_ID}={id}"))
}

/// Sixteen random bytes, in hexadecimal.
fn new_session_id() -> Option<String> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).ok()?;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Locks; what a thread left when it panicked is still consistent enough here: the files are the truth.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
