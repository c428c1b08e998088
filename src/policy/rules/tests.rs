//! Which rule decides, and which rules a policy cannot have.

use super::*;
use crate::policy::tests::{assert_faults, gateway_with};

const NOW: UnixTime = UnixTime(1_790_000_000);

/// The rules of a policy with the routes `/sync` and `/dm`.
fn rules(rules: &str) -> Rules {
    gateway_with(&format!("[[route]]\npath = '/dm'\nupstream = 'http://127.0.0.1:1'\n{rules}")).rules
}

fn subject<'a>(route: &'a str, device: Option<&'a str>, address: &str) -> Subject<'a> {
    Subject { route, device: device.map(str::as_bytes), address: address.parse().unwrap(), now: NOW }
}

/// The rule that decides about this.
fn decides<'r>(rules: &'r Rules, route: &str, device: Option<&str>, address: &str) -> &'r str {
    &rules.decide(&subject(route, device, address)).rule().name
}

#[test]
fn without_rules_a_seal_is_required() {
    let decision = Rules::default();
    let decision = decision.decide(&subject("/sync", Some("IMEI:1"), "192.0.2.1"));
    assert_eq!(decision.plaintext(), Plaintext::Require);
    assert!(decision.permit().is_none());
}

#[test]
fn only_what_observes_or_permits_gives_leave() {
    for (mode, leave) in [("observe", true), ("permit", true), ("require", false)] {
        let rules = rules(&format!("[[rule]]\nname = 'all'\nplaintext = '{mode}'"));
        let decision = rules.decide(&subject("/sync", None, "::1"));
        assert_eq!((decision.plaintext().name(), decision.permit().is_some()), (mode, leave));
    }
}

#[test]
fn the_first_rule_whose_conditions_all_apply_decides() {
    let rules = rules(
        "[[rule]]\nname = 'both'\nroute = '/dm'\ndevices = ['IMEI:49*']\nplaintext = 'permit'\n\
         [[rule]]\nname = 'lab'\naddresses = ['10.1.0.0/16', '192.0.2.7', '2001:db8::/32']\nplaintext = 'observe'\n\
         [[rule]]\nname = 'phones'\ndevices = ['IMEI:49*', 'phone-?']\nplaintext = 'permit'\n\
         [[rule]]\nname = 'dm'\nroute = '/dm'\nplaintext = 'observe'\n\
         [[rule]]\nname = 'rest'\nplaintext = 'require'\n",
    );
    for (route, device, address, rule) in [
        ("/dm", Some("IMEI:490"), "10.1.2.3", "both"),
        ("/dm", Some("IMEI:50"), "10.1.2.3", "lab"),
        ("/sync", Some("IMEI:490"), "10.1.255.255", "lab"),
        ("/sync", Some("IMEI:490"), "10.2.0.0", "phones"),
        ("/sync", Some("phone-1"), "192.0.2.8", "phones"),
        ("/sync", None, "192.0.2.7", "lab"),
        ("/sync", None, "2001:db8:ffff::1", "lab"),
        ("/sync", None, "::ffff:10.1.0.1", "lab"),
        ("/sync", None, "2001:db9::1", "rest"),
        ("/dm", None, "192.0.2.8", "dm"),
        ("/dm", Some("phone-12"), "192.0.2.8", "dm"),
        ("/sync", Some("other"), "192.0.2.8", "rest"),
        ("/sync", None, "192.0.2.8", "rest"),
    ] {
        assert_eq!(decides(&rules, route, device, address), rule, "{route} {device:?} {address}");
    }
}

#[test]
fn a_rule_says_which_of_its_conditions_does_not_apply() {
    let rules = rules(
        "[[rule]]\nname = 'some'\nroute = '/dm'\ndevices = 'a*'\naddresses = '10.0.0.0/8'\nuntil = 2026-09-21\n\
         plaintext = 'permit'\n[[rule]]\nname = 'rest'\nplaintext = 'require'\n",
    );
    let rule = rules.iter().next().unwrap();
    let late = Subject { now: NOW.plus(Duration::from_secs(86_400)), ..subject("/dm", Some("a1"), "10.0.0.1") };
    for (subject, miss) in [
        (subject("/dm", Some("a1"), "10.0.0.1"), None),
        (late, Some(Miss::Ended)),
        (subject("/sync", Some("a1"), "10.0.0.1"), Some(Miss::Route)),
        (subject("/dm", Some("a1"), "11.0.0.1"), Some(Miss::Address)),
        (subject("/dm", Some("b1"), "10.0.0.1"), Some(Miss::Device)),
        (subject("/dm", None, "10.0.0.1"), Some(Miss::NoDevice)),
    ] {
        assert_eq!(rule.miss(&subject), miss, "{subject:?}");
    }
    assert_eq!(rule.to_string(), "some: permit, on /dm, of \"a*\", from 10.0.0.0/8, until 2026-09-22T00:00:00Z");
}

#[test]
fn a_rule_decides_through_its_last_day_and_not_a_second_longer() {
    for (until, end) in [
        ("2026-09-21", 1_790_035_200),
        ("2026-12-31", 1_798_761_600),
        ("2026-09-21T14:13:20Z", 1_790_000_000),
        ("2026-09-21T14:13:20+02:00", 1_789_992_800),
    ] {
        let rules = rules(&format!(
            "[[rule]]\nname = 'exception'\nuntil = {until}\nplaintext = 'permit'\n\
             [[rule]]\nname = 'rest'\nplaintext = 'require'\n"
        ));
        let at = |now| rules.decide(&Subject { now: UnixTime(now), ..subject("/sync", None, "::1") }).plaintext();
        assert_eq!((at(0), at(end - 1)), (Plaintext::Permit, Plaintext::Permit), "{until}");
        assert_eq!((at(end), at(end + 1)), (Plaintext::Require, Plaintext::Require), "{until}");
    }
}

#[test]
fn endings_are_told_a_week_before_and_ever_after() {
    let rules = rules(
        "[[rule]]\nname = 'past'\nuntil = 2026-09-20\nplaintext = 'permit'\n\
         [[rule]]\nname = 'soon'\nuntil = 2026-09-28T14:13:20Z\nplaintext = 'permit'\n\
         [[rule]]\nname = 'later'\nuntil = 2026-09-28T14:13:21Z\nplaintext = 'permit'\n\
         [[rule]]\nname = 'rest'\nplaintext = 'require'\n",
    );
    let told: Vec<String> = rules.endings(NOW).iter().map(Ending::to_string).collect();
    assert_eq!(
        told,
        [
            "rule past ended at 2026-09-21T00:00:00Z: the rules after it decide for those that it was about",
            "rule soon ends soon, at 2026-09-28T14:13:20Z: from then on the rules after it decide",
        ]
    );
}

#[test]
fn rules_that_cannot_be_meant_are_faults() {
    let policy = "version = 1\n[gateway]\nkeys = 'gateway.pem'\n[[route]]\npath = '/sync'\nupstream = 'http://a'\n";
    for (rules, faults) in [
        (
            "[[rule]]\nname = 'a'\nroute = '/sync'\nplaintext = 'permit'\n",
            &[("p.toml:7:1: rule[0]: the last [[rule]] decides about all that no other is about", &["no route"][..])][..],
        ),
        (
            "[[rule]]\nname = 'a'\nuntil = 2027-01-01\nplaintext = 'permit'\n",
            &[("p.toml:7:1: rule[0]: the last [[rule]]", &["until"])],
        ),
        (
            "[[rule]]\nname = 'a'\nplaintext = 'permit'\n[[rule]]\nname = 'b'\nplaintext = 'permit'\n",
            &[("p.toml:7:1: rule[0]: a rule without conditions applies to everything", &["the last [[rule]]"])],
        ),
        (
            "[[rule]]\nname = 'a'\nroute = '/sync'\nplaintext = 'permit'\n[[rule]]\nname = 'a'\nplaintext = 'permit'\n",
            &[("p.toml:12:8: rule[1].name: found \"a\" a second time", &[])],
        ),
        (
            "[[rule]]\nname = 'a b'\nroute = '/elsewhere'\ndevices = []\naddresses = ['10.0.0.1/8', 'host']\n\
             until = '2027-01-01'\nplaintext = 'refuse'\n",
            &[
                ("p.toml:8:8: rule[0].name: found \"a b\"; allowed: a name of 1 to 64 letters", &[]),
                ("p.toml:9:9: rule[0].route: found \"/elsewhere\"; allowed: the path of a [[route]]: \"/sync\"", &[]),
                ("p.toml:10:11: rule[0].devices: found an empty list", &[]),
                ("p.toml:11:14: rule[0].addresses[0]: found \"10.0.0.1/8\"; allowed: an address, or a range", &[]),
                ("p.toml:11:28: rule[0].addresses[1]: found \"host\"", &[]),
                ("p.toml:12:9: rule[0].until: found \"2027-01-01\"; allowed: the last day", &["without quotes"]),
                (
                    "p.toml:13:13: rule[0].plaintext: found \"refuse\"; allowed: \"observe\", \"permit\", \"require\"",
                    &[],
                ),
            ],
        ),
        (
            "[[rule]]\nuntil = 2027-01-01T00:00:00\n",
            &[
                ("p.toml:7:1: rule[0].name: missing", &[]),
                ("p.toml:7:1: rule[0].plaintext: missing; allowed: \"observe\"", &[]),
                ("p.toml:8:9: rule[0].until: found 2027-01-01T00:00:00; allowed: the last day", &[]),
            ],
        ),
    ] {
        assert_faults(&format!("{policy}{rules}"), faults);
    }
}
