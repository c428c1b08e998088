//! What a client hears when there is no answer of its server's for it: an HTTP status, and a sentence in text/plain that
//! says what happened and what to do. Never SyncML, so that no client takes it for its server's word.

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::link::NoSeal;
use super::metrics::Hindrance;
use crate::crypto::RandomFailed;
use crate::net::body::BodyError;
use crate::net::fields;
use crate::net::upstream::UpstreamError;
use crate::seal::data::Unfit;
use crate::seal::{InitResponseError, Malformed, Reason, Refusal, RefusalReason, StartInitError};
use crate::session::Refused;
use crate::syncml::InvalidDocument;

/// Why a client does not get its server's answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    // The client's request.
    /// A method other than POST.
    #[error("only POST is taken")]
    Method,
    /// A content type that is not SyncML's, or none.
    #[error("the content type is not SyncML's")]
    MediaType,
    /// A body in a content coding.
    #[error("the body is in a content coding")]
    Coded,
    /// A target that no gateway takes.
    #[error("the request target is not allowed")]
    Target,
    /// No whole body.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A body that is not a SyncML document.
    #[error("the body is not SyncML: {0}")]
    Document(#[from] InvalidDocument),
    /// In the data layer, a body that cannot be sealed for certain.
    #[error("the body cannot be sealed in the data layer: {0}")]
    Unsealable(#[from] Unfit),
    /// In the data layer, a header field that would have to be sealed.
    #[error("{0} cannot be sealed in the data layer")]
    NeedsMessageLayer(&'static str),

    // The agent.
    /// All places for exchanges are taken.
    #[error("too many exchanges are in progress")]
    Busy,
    /// There is no room for another SyncML session.
    #[error(transparent)]
    Sessions(#[from] Refused),
    /// No init request could be made.
    #[error(transparent)]
    Init(#[from] StartInitError),
    /// What cannot happen did.
    #[error("a fault of the agent")]
    Internal,

    // The way to the gateway.
    /// No seal came back.
    #[error(transparent)]
    NoSeal(#[from] NoSeal),
    /// What came back in the place of an init response is none.
    #[error(transparent)]
    InitResponse(#[from] InitResponseError),
    /// What came back in the place of a response is none.
    #[error("not the response to this request: {0}")]
    Response(Malformed),
    /// What came back in the place of a sealed document is none.
    #[error("not the response to this request: {0}")]
    Unopenable(Unfit),
    /// A response that does not open, or belongs to another request.
    #[error("the response did not open as the one to this request")]
    CannotOpen,

    // The opened answer.
    /// Its plaintext is not one.
    #[error("the opened response is not one: {0}")]
    Plaintext(Malformed),
    /// It is over the message limit.
    #[error("the opened response is over the message limit")]
    TooLarge,
    /// It says that it is SyncML and is not.
    #[error("the opened response is not the SyncML it should be: {0}")]
    Answer(InvalidDocument),
    /// Its RespURI leads away from agent and gateway.
    #[error("the server's RespURI leads elsewhere")]
    ForeignRespUri,
    /// Its RespURI would have to be changed under an x-syncml-hmac.
    #[error("the server's RespURI would have to be changed in a signed message")]
    SignedRespUri,
}

impl From<RandomFailed> for Trouble {
    fn from(failed: RandomFailed) -> Self {
        Self::Init(failed.into())
    }
}

impl Trouble {
    /// What is said for a refusal that is not sealed.
    pub(super) fn refused(refusal: Box<Refusal>) -> Self {
        Self::NoSeal(NoSeal::Refused(refusal))
    }

    /// The HTTP status: 403 for a refusal, 502 or 504 for trouble on the way (PROTOCOL section 9).
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType | Self::Coded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Timeout) => StatusCode::REQUEST_TIMEOUT,
            Self::Target
            | Self::Body(BodyError::Incomplete(_))
            | Self::Document(_)
            | Self::Unsealable(_)
            | Self::NeedsMessageLayer(_) => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Sessions(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Init(_) | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoSeal(NoSeal::Refused(_)) => StatusCode::FORBIDDEN,
            Self::NoSeal(NoSeal::Upstream(UpstreamError::Busy | UpstreamError::Timeout)) => StatusCode::GATEWAY_TIMEOUT,
            Self::NoSeal(_)
            | Self::InitResponse(_)
            | Self::Response(_)
            | Self::Unopenable(_)
            | Self::CannotOpen
            | Self::Plaintext(_)
            | Self::TooLarge
            | Self::Answer(_)
            | Self::ForeignRespUri
            | Self::SignedRespUri => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whose fault it is, as far as the agent can tell.
    pub(super) fn hindrance(&self) -> Hindrance {
        match self {
            Self::Method
            | Self::MediaType
            | Self::Coded
            | Self::Target
            | Self::Body(_)
            | Self::Document(_)
            | Self::Unsealable(_)
            | Self::NeedsMessageLayer(_) => Hindrance::Client,
            Self::Busy | Self::Sessions(_) | Self::Init(_) | Self::Internal => Hindrance::Agent,
            Self::NoSeal(NoSeal::Refused(_)) => Hindrance::Refused,
            Self::NoSeal(_) | Self::InitResponse(_) | Self::Response(_) | Self::Unopenable(_) | Self::CannotOpen => {
                Hindrance::Way
            }
            Self::Plaintext(_) | Self::TooLarge | Self::Answer(_) | Self::ForeignRespUri | Self::SignedRespUri => {
                Hindrance::Answer
            }
        }
    }

    /// Its name in logs; of a refusal the protocol's.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::MediaType => "media-type",
            Self::Coded => "content-coding",
            Self::Target => "target",
            Self::Body(BodyError::TooLarge { .. }) | Self::TooLarge => "too-large",
            Self::Body(BodyError::Timeout) => "body-timeout",
            Self::Body(BodyError::Incomplete(_)) => "body-incomplete",
            Self::Document(_) => "not-syncml",
            Self::Unsealable(_) | Self::NeedsMessageLayer(_) => "data-layer",
            Self::Busy => "busy",
            Self::Sessions(_) => "sessions-full",
            Self::Init(_) | Self::Internal => "internal",
            Self::NoSeal(NoSeal::Refused(refusal)) => match refusal.reason {
                RefusalReason::Known(reason) => reason.name(),
                RefusalReason::Unknown(_) => "refusal-unknown",
            },
            Self::NoSeal(NoSeal::Upstream(error)) => match error {
                UpstreamError::Busy => "gateway-busy",
                UpstreamError::Incomplete(_) => "gateway-incomplete",
                UpstreamError::Timeout => "gateway-timeout",
                UpstreamError::TooLarge { .. } => "too-large",
                UpstreamError::Unreachable(_) => "gateway-unreachable",
            },
            Self::NoSeal(NoSeal::Foreign { .. }) => "not-sealed",
            Self::InitResponse(InitResponseError::NoExchange) => "no-key-exchange",
            Self::InitResponse(_) | Self::Response(_) | Self::Unopenable(_) | Self::CannotOpen => "cannot-open",
            Self::Plaintext(_) | Self::Answer(_) => "answer-malformed",
            Self::ForeignRespUri | Self::SignedRespUri => "resp-uri",
        }
    }

    /// What happened and what to do, in words for a person.
    fn sentence(&self) -> String {
        const RESEND: &str = "It may or may not have been processed; the client can send it again.";
        match self {
            Self::Method => "This is the SyncSeal agent; SyncML clients reach it with POST.".into(),
            Self::MediaType => "The agent takes SyncML only: the Content-Type must be one of SyncML's, such as \
                application/vnd.syncml+xml, or one that the agent's policy adds in extra_types."
                .into(),
            Self::Coded => "The agent takes no content coding: let the client send without Content-Encoding.".into(),
            Self::Target => "The agent does not take this address: a path without dot segments, encoded slashes and \
                backslashes is needed."
                .into(),
            Self::Body(BodyError::TooLarge { limit }) => format!(
                "The message is over the agent's limit of {limit} bytes: raise message in [limits] of its policy and of the \
                 gateway's, or lower the client's MaxMsgSize."
            ),
            Self::Body(BodyError::Timeout) => "The message did not arrive in time.".into(),
            Self::Body(BodyError::Incomplete(_)) => "The message broke off.".into(),
            Self::Document(error) => format!("The message is not a SyncML document as its Content-Type says: {error}."),
            Self::Unsealable(unfit) => format!(
                "The message cannot be sealed in the data layer: {unfit}. Nothing was sent; the message layer seals any \
                 message (layer = \"message\" in the agent's policy, and a gateway that takes it)."
            ),
            Self::NeedsMessageLayer(name) => format!(
                "The client sends {name}, which the data layer does not protect. Nothing was sent; the message layer seals \
                 it too (layer = \"message\" in the agent's policy, and a gateway that takes it)."
            ),
            Self::Busy => "The agent has too much to do at the moment; try again later.".into(),
            Self::Sessions(_) => "The agent has no room for another SyncML session; try again later, or raise total in \
                [sessions] of its policy."
                .into(),
            Self::Init(_) | Self::Internal => "The agent failed; its log says more.".into(),
            Self::NoSeal(NoSeal::Refused(refusal)) => refusal_sentence(refusal),
            Self::NoSeal(NoSeal::Upstream(UpstreamError::Unreachable(_))) => {
                "The gateway cannot be reached, and nothing was sent: see gateway in the agent's policy, and whether the \
                 gateway runs."
                    .into()
            }
            Self::NoSeal(NoSeal::Upstream(UpstreamError::Busy)) => {
                "Too many requests to the gateway are in progress, and nothing was sent; try again later.".into()
            }
            Self::NoSeal(NoSeal::Upstream(UpstreamError::TooLarge { .. })) | Self::TooLarge => {
                "The answer is over the agent's limit: raise message in [limits] of its policy.".into()
            }
            Self::NoSeal(NoSeal::Upstream(UpstreamError::Timeout)) => {
                format!("The gateway did not answer the sealed message in time. {RESEND}")
            }
            Self::NoSeal(NoSeal::Upstream(UpstreamError::Incomplete(_))) => {
                format!("The gateway's answer to the sealed message broke off. {RESEND}")
            }
            Self::NoSeal(NoSeal::Foreign { status }) => format!(
                "What answered in the gateway's place (HTTP status {}) is not a SyncSeal gateway, and its answer was not \
                 used: see gateway in the agent's policy, and proxies on the way. {RESEND}",
                status.as_u16()
            ),
            Self::InitResponse(InitResponseError::NoExchange) => "The gateway took no part in the key exchange that the \
                agent's policy requires, and the message was not used further: the gateway's [crypto] must allow one of the \
                agent's groups."
                .into(),
            Self::InitResponse(_) => "The answer to the handshake is not from the gateway whose key is pinned, and was not \
                used: see key in the agent's policy, and who answers at the gateway's address."
                .into(),
            Self::Response(_) | Self::Unopenable(_) | Self::CannotOpen => {
                format!("The answer to the sealed message is not authentic, and was not used. {RESEND}")
            }
            Self::Plaintext(_) => "The gateway's answer opened, but is not of a form that the protocol has: see \
                extra_headers in both policies."
                .into(),
            Self::Answer(error) => format!("The server's answer is not a SyncML document as its Content-Type says: {error}."),
            Self::ForeignRespUri => "The server's answer sends the client to another address (RespURI), past agent and \
                gateway: add the gateway's public name to gateway_names in the agent's policy, or the server's to its names \
                in the gateway's."
                .into(),
            Self::SignedRespUri => "The server's answer names an address (RespURI) that the agent would have to replace, \
                but it is protected by x-syncml-hmac: let the client reach the agent under the server's public name."
                .into(),
        }
    }

    /// The response that says it.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let mut sentence = self.sentence();
        sentence.push('\n');
        let mut response = fields::sentence(self.status(), sentence);
        if matches!(self, Self::Method) {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

/// What is said of a refusal. It is not authentic, so nothing of its text is used but the reason.
fn refusal_sentence(refusal: &Refusal) -> String {
    let RefusalReason::Known(reason) = refusal.reason else {
        return "The gateway refused the message for a reason that this version does not know; nothing was sent in \
                plaintext."
            .into();
    };
    let advice = match reason {
        Reason::AlgorithmUnsupported | Reason::KeyLengthUnsupported => {
            "Compare algorithms in [crypto] of the agent's policy and of the gateway's."
        }
        Reason::KeyExchangeRequired => "Compare groups in [crypto] of the agent's policy and of the gateway's.",
        Reason::KeyUnknown => "Give the agent the gateway's present public key (key in its policy).",
        Reason::KeyTransportUnsupported | Reason::LayerUnsupported | Reason::EncryptionRequired => {
            "The gateway's policy wants another kind of seal on this path; see gateway in the agent's policy."
        }
        Reason::VersionUnsupported => "Agent and gateway speak different versions of the protocol.",
        Reason::SessionUnknown => {
            "The sealed session is over. The message may or may not have been processed; sent again, it starts a new one."
        }
        Reason::Replayed => "It was received before, but its answer is no longer there; let the client start anew.",
        Reason::SessionBound => "Let the client start a new SyncML session.",
        Reason::Overloaded | Reason::UpstreamUnreachable | Reason::UpstreamTimeout | Reason::UpstreamInvalid => {
            "Try again later."
        }
        Reason::TooLarge => "Raise message in [limits] of the gateway's policy, or lower the client's MaxMsgSize.",
        Reason::EarlyRefused | Reason::CannotOpen | Reason::Malformed => "The log of the gateway says more.",
    };
    format!("The gateway refused the sealed message ({}: {}). {advice}", reason.name(), reason.title())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_403_and_trouble_on_the_way_502_or_504() {
        for reason in Reason::ALL {
            assert_eq!(Trouble::refused(Box::new(reason.into())).status(), 403, "{}", reason.name());
        }
        let upstream = |error| Trouble::NoSeal(NoSeal::Upstream(error)).status();
        assert_eq!(upstream(UpstreamError::Timeout), 504);
        assert_eq!(upstream(UpstreamError::Unreachable("refused".into())), 502);
        assert_eq!(upstream(UpstreamError::Incomplete("reset".into())), 502);
        assert_eq!(Trouble::CannotOpen.status(), 502);
    }

    #[test]
    fn nothing_of_a_refusal_that_is_not_authentic_reaches_the_client() {
        let refusal = Refusal { reason: "<SyncML>evil</SyncML>".into(), ..Refusal::from(Reason::Malformed) };
        let trouble = Trouble::refused(refusal.into());
        assert!(!trouble.sentence().contains("evil"));
        assert_eq!(trouble.reason(), "refusal-unknown");
        assert_eq!(trouble.response().headers()["content-type"], "text/plain; charset=utf-8");
    }

    #[test]
    fn only_post_is_named_where_another_method_was_used() {
        assert_eq!(Trouble::Method.response().headers()["allow"], "POST");
        assert!(!Trouble::Coded.response().headers().contains_key("allow"));
    }
}
