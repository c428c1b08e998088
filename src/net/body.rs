//! Reads a body into one buffer that belongs to its reader alone, so that a seal in it can be opened in place.
//!
//! Nothing is allocated by what a peer claims, but by what it has sent; a claim over the limit is refused unread.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header, request};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

/// The most that is allocated before a byte has arrived.
const FIRST_CAPACITY: usize = 16 * 1024;

/// How much of a body that is refused for its size is read all the same, into nothing. A connection closed over unread
/// bytes is reset, and the reset can overtake the answer that says why.
const MAX_DISCARDED: u64 = 4 * 1024 * 1024;

/// Why there is no whole body.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It has, or claims to have, more bytes than the limit.
    #[error("the body is over the limit of {limit} bytes")]
    TooLarge {
        /// The limit that it was read with.
        limit: usize,
    },
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    Timeout,
    /// The peer went away in the middle, or broke the rules of its transfer.
    #[error("the body broke off: {0}")]
    Incomplete(#[source] Box<dyn Error + Send + Sync>),
}

/// Reads the body of `request`, of at most `limit` bytes, within `time`. The rest of the request comes back either way,
/// for the answer depends on it.
///
/// Of a body over the limit some more is read and thrown away, so that the refusal reaches its client; but not if the
/// client waits for a 100 (RFC 9110, 10.1.1), which it then never gets.
pub async fn receive<B>(
    request: Request<B>,
    limit: usize,
    time: Duration,
) -> (request::Parts, Result<BytesMut, BodyError>)
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let discard = if awaits_continue(&parts.headers) { 0 } else { MAX_DISCARDED };
    let body = timeout(time, collect_or_discard(body, limit, discard)).await.unwrap_or(Err(BodyError::Timeout));
    (parts, body)
}

/// Reads `body`, of at most `limit` bytes, for as long as it takes.
///
/// # Errors
/// [`BodyError::TooLarge`] and [`BodyError::Incomplete`].
pub async fn collect<B>(body: B, limit: usize) -> Result<BytesMut, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    collect_or_discard(body, limit, 0).await
}

async fn collect_or_discard<B>(body: B, limit: usize, discard: u64) -> Result<BytesMut, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let claimed = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut whole = BytesMut::new();
    if claimed <= limit {
        whole.reserve(claimed.min(FIRST_CAPACITY));
        loop {
            let Some(frame) = body.frame().await else { return Ok(whole) };
            let frame = frame.map_err(|error| BodyError::Incomplete(error.into()))?;
            // Trailers say nothing that we would pass on.
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > limit - whole.len() {
                break;
            }
            whole.extend_from_slice(&data);
        }
    }
    drop(whole);
    let mut left = discard;
    while left > 0 && body.size_hint().lower() <= left {
        let Some(Ok(frame)) = body.frame().await else { break };
        left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
    }
    Err(BodyError::TooLarge { limit })
}

fn awaits_continue(headers: &HeaderMap) -> bool {
    headers.get_all(header::EXPECT).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::{Frame, SizeHint};
    use http_body_util::{Empty, Full};

    use super::*;

    /// A body of the given frames that claims a length of its own choice, and then ends, breaks or hangs.
    struct Script {
        frames: Vec<Result<Bytes, &'static str>>,
        claim: u64,
        hangs: bool,
    }

    impl Script {
        fn new(frames: &[&'static str]) -> Self {
            let frames = frames.iter().rev().map(|data| Ok(Bytes::from_static(data.as_bytes()))).collect();
            Self { frames, claim: 0, hangs: false }
        }
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = Box<dyn Error + Send + Sync>;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match self.frames.pop() {
                Some(frame) => Poll::Ready(Some(frame.map(Frame::data).map_err(Into::into))),
                None if self.hangs => Poll::Pending,
                None => Poll::Ready(None),
            }
        }

        fn size_hint(&self) -> SizeHint {
            let mut hint = SizeHint::new();
            hint.set_lower(self.claim);
            hint
        }
    }

    #[tokio::test]
    async fn frames_become_one_buffer() {
        let whole = collect(Script::new(&["ab", "", "cde"]), 5).await.unwrap();
        assert_eq!(whole, "abcde");
        assert!(collect(Empty::<Bytes>::new(), 0).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_limit_holds_to_the_byte() {
        for (frames, limit, fits) in
            [(&["abc", "de"][..], 5, true), (&["abc", "de"], 4, false), (&["a"], 0, false), (&[""], 0, true)]
        {
            let result = collect(Script::new(frames), limit).await;
            assert_eq!(result.is_ok(), fits, "{frames:?} in {limit}");
            if let Err(error) = result {
                assert!(matches!(error, BodyError::TooLarge { limit: l } if l == limit), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_claim_allocates_little() {
        let script = Script { claim: 1 << 40, ..Script::new(&["abc"]) };
        let whole = collect(script, usize::MAX).await.unwrap();
        assert!(whole.capacity() <= FIRST_CAPACITY, "{}", whole.capacity());
    }

    #[tokio::test]
    async fn a_claim_over_the_limit_is_refused_unread() {
        // It would hang if it were read.
        let script = Script { claim: MAX_DISCARDED + 1, hangs: true, ..Script::new(&[]) };
        let (_, body) = receive(Request::new(script), 10, Duration::MAX).await;
        assert!(matches!(body, Err(BodyError::TooLarge { limit: 10 })));
    }

    #[tokio::test]
    async fn what_is_too_large_is_discarded_for_a_while() {
        let mut script = Script::new(&["abc", "def", "ghi"]);
        let _ = collect_or_discard(&mut script, 1, 100).await.unwrap_err();
        assert!(script.frames.is_empty());
        let mut script = Script::new(&["abc", "def", "ghi"]);
        let _ = collect_or_discard(&mut script, 1, 2).await.unwrap_err();
        assert_eq!(script.frames.len(), 1);
    }

    #[tokio::test]
    async fn a_client_that_awaits_a_100_never_gets_one_for_what_is_too_large() {
        let script = Script { claim: 11, hangs: true, ..Script::new(&[]) };
        let request = Request::builder().header("expect", "100-Continue").body(script).unwrap();
        let (_, body) = receive(request, 10, Duration::MAX).await;
        assert!(matches!(body, Err(BodyError::TooLarge { limit: 10 })));
    }

    #[tokio::test]
    async fn what_is_collected_is_never_discarded() {
        let script = Script { hangs: true, ..Script::new(&["abc"]) };
        assert!(matches!(collect(script, 2).await, Err(BodyError::TooLarge { limit: 2 })));
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_for_the_whole_body() {
        let script = Script { hangs: true, ..Script::new(&["abc"]) };
        let (parts, body) = receive(Request::put("/a").body(script).unwrap(), 10, Duration::from_secs(9)).await;
        assert!(matches!(body, Err(BodyError::Timeout)));
        assert_eq!(parts.uri, "/a");
    }

    #[tokio::test]
    async fn what_breaks_off_is_incomplete() {
        let mut script = Script::new(&["abc"]);
        script.frames.insert(0, Err("gone"));
        let error = collect(script, 10).await.unwrap_err();
        assert_eq!(error.to_string(), "the body broke off: gone");
    }

    #[tokio::test]
    async fn the_buffer_has_one_owner() {
        let frame = Bytes::from(vec![7; 1000]);
        let whole = collect(Full::new(frame.clone()), 1000).await.unwrap();
        let at = whole.as_ptr();
        let again = whole.freeze().try_into_mut().unwrap();
        assert_eq!((again.as_ptr(), &again[..]), (at, &frame[..]));
    }
}
