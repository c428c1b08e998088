//! What a policy is tested with, `[[case]]`: this captured request, from there, gets this answer. `syncseal check` asks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::keys;
use super::objection::Objection;
use super::reader::Section;
use super::value::text;

/// A captured request, and what is expected of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The file with the request: HTTP/1.1 as it was on the wire, or its body alone.
    pub file: PathBuf,
    /// Path and query, in the place of the request's own; of a body alone, the path of the first route unless said.
    pub path: Option<String>,
    /// Where it comes from; an address of nobody's, unless said.
    pub from: IpAddr,
    /// Source LocURI of the device that it comes from, in the place of the message's own.
    pub device: Option<String>,
    /// Its content type, in the place of the request's own; of a body alone, what its content says unless said.
    pub content_type: Option<String>,
    /// What becomes of it.
    pub expect: Expect,
}

/// What becomes of a request, as far as the policy tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// It is sealed, and is opened.
    Opened,
    /// It is forwarded without a seal, permitted or observed.
    Forwarded,
    /// It is forwarded under a rule that observes, and would have been refused for this.
    Observed(Objection),
    /// It is refused for this.
    Refused(Objection),
    /// No route has its path.
    NoRoute,
}

const EXPECT_ALLOWED: &str = "\"opened\", \"forwarded\", \"observed: REASON\", \"refused: REASON\" (such as \
     \"refused: encryption-required\") or \"no route\"";

impl Expect {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None => match text {
                "opened" => Some(Self::Opened),
                "forwarded" => Some(Self::Forwarded),
                "no route" => Some(Self::NoRoute),
                _ => None,
            },
            Some(("observed", reason)) => Objection::from_name(reason.trim()).map(Self::Observed),
            Some(("refused", reason)) => Objection::from_name(reason.trim()).map(Self::Refused),
            Some(_) => None,
        }
    }

    /// Whether what is expected is the case where `found` is.
    pub fn is_met_by(self, found: Self) -> bool {
        self == found || matches!((self, found), (Self::Forwarded, Self::Observed(_)))
    }
}

impl fmt::Display for Expect {
    /// As a policy says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => f.write_str("opened"),
            Self::Forwarded => f.write_str("forwarded"),
            Self::Observed(objection) => write!(f, "observed: {objection}"),
            Self::Refused(objection) => write!(f, "refused: {objection}"),
            Self::NoRoute => f.write_str("no route"),
        }
    }
}

impl Case {
    /// Where what comes from nowhere comes from.
    pub const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn read(mut section: Section<'_>) -> Option<Self> {
        let file_allowed = "the file of a captured request, or of its body";
        let path_allowed = "a path, perhaps with a query, such as \"/sync?a=b\"";
        let path = text(path_allowed, |path| path.starts_with('/').then(|| path.to_owned()));
        let any = |allowed: &'static str| text(allowed, |text| (!text.is_empty()).then(|| text.to_owned()));
        let file = section.required("file", file_allowed, |file| keys::path(file, file_allowed));
        let path = section.optional("path", path);
        let from = section.or("from", Self::NOBODY, text("an address", |text| text.parse().ok()));
        let device = section.optional("device", any("a Source LocURI, such as \"IMEI:490154203237518\""));
        let content_type = section.optional("content_type", any("a content type"));
        let expect = section.required("expect", EXPECT_ALLOWED, text(EXPECT_ALLOWED, Expect::parse));
        section.finish();
        Some(Self { file: file?, path, from, device, content_type, expect: expect? })
    }

    /// Reads `[[case]]`.
    pub(super) fn read_all(root: &mut Section<'_>) -> Vec<Self> {
        root.sections_if_any("case").into_iter().filter_map(Self::read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{assert_faults, gateway_with};
    use crate::seal::Reason;

    #[test]
    fn a_case_says_what_is_expected_of_what() {
        let cases = gateway_with(
            "[[case]]\nfile = 'a.req'\nexpect = 'forwarded'\n\
             [[case]]\nfile = '/b'\npath = '/sync?a'\nfrom = '10.0.0.1'\ndevice = 'IMEI:1'\n\
             content_type = 'text/xml'\nexpect = 'refused: unsupported-media-type'\n",
        )
        .cases;
        assert!(cases[0].file.is_absolute() && cases[0].file.ends_with("a.req"));
        assert_eq!((cases[0].from, cases[0].expect), (Case::NOBODY, Expect::Forwarded));
        assert_eq!((cases[1].path.as_deref(), cases[1].device.as_deref()), (Some("/sync?a"), Some("IMEI:1")));
        assert_eq!(cases[1].from, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(cases[1].expect.to_string(), "refused: unsupported-media-type");
    }

    #[test]
    fn what_is_observed_is_forwarded_but_not_the_other_way_round() {
        let required = Objection::Refused(Reason::EncryptionRequired);
        assert!(Expect::Forwarded.is_met_by(Expect::Observed(required)));
        assert!(!Expect::Observed(required).is_met_by(Expect::Forwarded));
        assert!(!Expect::Refused(required).is_met_by(Expect::Observed(required)));
        for text in ["opened", "forwarded", "no route", "observed: malformed", "refused: session-bound"] {
            let expect = Expect::parse(text).unwrap();
            assert_eq!(expect.to_string(), text);
            assert!(expect.is_met_by(expect));
        }
    }

    #[test]
    fn wrong_cases_are_faults() {
        assert_faults(
            "version = 1\n[gateway]\nkeys = 'gateway.pem'\n[[route]]\npath = '/sync'\nupstream = 'http://a'\n\
             [[case]]\npath = 'sync'\nfrom = '10.0.0.0/8'\nexpect = 'refused: nobody-knows'\n[[case]]\nfile = 'a'\nexpects = ''\n",
            &[
                ("p.toml:7:1: case[0].file: missing; allowed: the file of a captured request", &[]),
                ("p.toml:8:8: case[0].path: found \"sync\"; allowed: a path", &[]),
                ("p.toml:9:8: case[0].from: found \"10.0.0.0/8\"; allowed: an address", &[]),
                (
                    "p.toml:10:10: case[0].expect: found \"refused: nobody-knows\"; allowed: \"opened\"",
                    &["refused: enc"],
                ),
                ("p.toml:11:1: case[1].expect: missing", &[]),
                ("p.toml:13:1: case[1].expects: unknown key, did you mean `expect`?", &[]),
            ],
        );
    }
}
