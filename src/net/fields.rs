//! Header hygiene: which fields end at this hop, what a body's type is, and the answers that we make ourselves.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, FORWARDED, HeaderMap, HeaderName, HeaderValue,
};
use http::{Response, StatusCode, header};
use http_body_util::Full;
use mediatype::MediaType;

/// Fields about one connection, whatever `Connection` says (RFC 9110, 7.6.1). `Keep-Alive` and `Proxy-Connection` are
/// not registered as such, but are sent.
static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes the fields that are about one connection, and those that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Whether a field claims to tell a client's address, or how it reached a proxy: `Forwarded` (RFC 7239), `X-Forwarded-*`
/// and `X-Real-IP`.
pub fn tells_of_client(name: &HeaderName) -> bool {
    *name == FORWARDED || name == "x-real-ip" || name.as_str().starts_with("x-forwarded-")
}

/// Removes the fields that claim to tell a client's address: whoever sends them can write what they like.
pub fn strip_client(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| tells_of_client(name)).cloned().collect();
    for name in &claims {
        headers.remove(name);
    }
}

/// What `X-Forwarded-For` says of a client: its address as it is.
pub fn x_forwarded_for(client: IpAddr) -> HeaderValue {
    value(&client.to_canonical().to_string())
}

/// What `Forwarded` says of a client (RFC 7239, 6): an IPv6 address in brackets, and therefore quoted.
pub fn forwarded_for(client: IpAddr) -> HeaderValue {
    match client.to_canonical() {
        IpAddr::V4(v4) => value(&format!("for={v4}")),
        IpAddr::V6(v6) => value(&format!("for=\"[{v6}]\"")),
    }
}

#[expect(clippy::expect_used, reason = "addresses are written in visible ASCII")]
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("visible ASCII")
}

/// True if the body is in a content coding: `Content-Encoding` names anything but `identity`.
pub fn is_content_coded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// The one `Content-Type`. Two of them, even of the same value, are as good as none.
pub fn content_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Type and subtype of a media type, in lower case and without parameters (RFC 9110, 8.3.1). `None` if the value is not
/// exactly one media type.
pub fn essence(content_type: &HeaderValue) -> Option<String> {
    let essence = MediaType::parse(content_type.to_str().ok()?).ok()?.essence().to_string();
    Some(essence.to_ascii_lowercase())
}

/// True for `application/cose; cose-type="cose-encrypt0"` (RFC 9052, 11.3.1), however it is written: quoted or as a
/// token, with further parameters. Without the parameter, or with two of it, it is not.
pub fn is_cose_encrypt0(content_type: &HeaderValue) -> bool {
    let Some(media_type) = content_type.to_str().ok().and_then(|value| MediaType::parse(value).ok()) else {
        return false;
    };
    let mut cose_types = media_type.params.iter().filter(|(name, _)| *name == "cose-type");
    media_type.ty == "application"
        && media_type.subty == "cose"
        && media_type.suffix.is_none()
        && cose_types.next().is_some_and(|(_, value)| value.unquoted_str() == "cose-encrypt0")
        && cose_types.next().is_none()
}

/// Problem details (RFC 9457): `json` is the object, already written. Never cached.
pub fn problem(status: StatusCode, json: impl Into<Bytes>) -> Response<Full<Bytes>> {
    answer(status, HeaderValue::from_static("application/problem+json"), json.into())
}

/// A sentence for a person, as text. Never cached.
pub fn sentence(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    answer(status, HeaderValue::from_static("text/plain; charset=utf-8"), text.into())
}

fn answer(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_tells_of_the_client_is_removed_whoever_wrote_it() {
        let mut fields = headers(&[
            ("forwarded", "for=192.0.2.1"),
            ("forwarded", "for=192.0.2.2"),
            ("x-forwarded-for", "192.0.2.3"),
            ("x-forwarded-host", "other.example"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.4"),
            ("x-syncml-hmac", "kept"),
            ("x-forward", "kept"),
        ]);
        strip_client(&mut fields);
        assert_eq!(fields, headers(&[("x-syncml-hmac", "kept"), ("x-forward", "kept")]));
    }

    #[test]
    fn a_client_is_told_by_its_address() {
        let told = |address: &str| {
            let address = address.parse().unwrap();
            let text = |value: HeaderValue| value.to_str().unwrap().to_owned();
            (text(x_forwarded_for(address)), text(forwarded_for(address)))
        };
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(told("192.0.2.1"), pair("192.0.2.1", "for=192.0.2.1"));
        assert_eq!(told("::ffff:192.0.2.1"), pair("192.0.2.1", "for=192.0.2.1"));
        assert_eq!(told("2001:db8::1"), pair("2001:db8::1", "for=\"[2001:db8::1]\""));
    }

    #[test]
    fn fields_of_one_hop_are_stripped_with_those_that_connection_names() {
        let mut fields = headers(&[
            ("connection", "close, X-Private ,, not a token"),
            ("connection", "other"),
            ("x-private", "1"),
            ("other", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("authorization", "Basic eQ=="),
            ("x-syncml-hmac", "algorithm=MD5"),
        ]);
        strip_hop_by_hop(&mut fields);
        let mut left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "x-syncml-hmac"]);
    }

    #[test]
    fn identity_is_no_content_coding() {
        for (fields, coded) in [
            (&[][..], false),
            (&[("content-encoding", "Identity")], false),
            (&[("content-encoding", "")], false),
            (&[("content-encoding", "gzip")], true),
            (&[("content-encoding", "identity, br")], true),
            (&[("content-encoding", "identity"), ("content-encoding", "deflate")], true),
        ] {
            assert_eq!(is_content_coded(&headers(fields)), coded, "{fields:?}");
        }
    }

    #[test]
    fn two_content_types_are_none() {
        assert_eq!(content_type(&headers(&[])), None);
        assert_eq!(content_type(&headers(&[("content-type", "a/b")])).unwrap(), "a/b");
        assert_eq!(content_type(&headers(&[("content-type", "a/b"), ("content-type", "a/b")])), None);
    }

    #[test]
    fn essences_are_compared_without_case_and_parameters() {
        for (value, expected) in [
            ("application/vnd.syncml+xml", Some("application/vnd.syncml+xml")),
            ("Application/VND.SyncML+XML ; charset=\"UTF-8\"", Some("application/vnd.syncml+xml")),
            ("application/vnd.syncml.dm+wbxml;", Some("application/vnd.syncml.dm+wbxml")),
            ("application", None),
            ("application/", None),
            ("a/b, a/b", None),
            ("a/b; c", None),
            ("", None),
        ] {
            assert_eq!(essence(&HeaderValue::from_static(value)).as_deref(), expected, "{value}");
        }
        assert_eq!(essence(&HeaderValue::from_bytes(b"a/b; c=\"\xff\"").unwrap()), None);
    }

    #[test]
    fn the_parameter_makes_a_seal() {
        for (value, expected) in [
            ("application/cose; cose-type=\"cose-encrypt0\"", true),
            ("application/cose;cose-type=cose-encrypt0", true),
            ("APPLICATION/Cose \t; Cose-Type=\"cose\\-encrypt0\"", true),
            ("application/cose; x=\"; cose-type=y\"; cose-type=\"cose-encrypt0\"", true),
            ("application/cose", false),
            ("application/cose; cose-type=\"cose-encrypt\"", false),
            ("application/cose; cose-type=\"cose-encrypt0", false),
            ("application/cose; x=\"; cose-type=cose-encrypt0\"", false),
            ("application/cose; cose-type=cose-encrypt0; cose-type=cose-encrypt0", false),
            ("application/cose; cose-type=cose-sign; cose-type=cose-encrypt0", false),
            ("application/cose-key; cose-type=\"cose-encrypt0\"", false),
            ("application/cose+xml; cose-type=\"cose-encrypt0\"", false),
            ("text/cose; cose-type=\"cose-encrypt0\"", false),
        ] {
            assert_eq!(is_cose_encrypt0(&HeaderValue::from_static(value)), expected, "{value}");
        }
    }

    #[test]
    fn answers_of_our_own_are_never_cached() {
        let problem = problem(StatusCode::CONFLICT, "{}");
        assert_eq!(problem.status(), 409);
        assert_eq!(problem.headers()["content-type"], "application/problem+json");
        let sentence = sentence(StatusCode::BAD_GATEWAY, "The gateway is away.");
        assert_eq!(sentence.headers()["content-type"], "text/plain; charset=utf-8");
        for answer in [problem, sentence] {
            assert_eq!(answer.headers()["cache-control"], "no-store");
        }
    }
}
