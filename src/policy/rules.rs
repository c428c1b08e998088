//! The rollout ladder, `[[rule]]`: which rule decides about a message that is not sealed, and what it says, from
//! `observe` over `permit` to `require`.
//!
//! Everything here is a function of a policy and of what is known of one message. What is sealed is no matter of rules:
//! it is honoured under each of them. What becomes of a message is left to [`crate::gateway`].

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::devices::Devices;
use super::fault::{Cause, Conflict};
use super::reader::{Section, Setting};
use super::value::{self, choice, nonempty_list, text};
use crate::session::UnixTime;

/// What happens to messages that are not sealed: the rungs of the ladder, from the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Plaintext {
    /// Everything is forwarded, and who would have been refused is recorded.
    Observe,
    /// SyncML is forwarded as it is, and counted.
    Permit,
    /// A seal is required, without one it is refused.
    Require,
}

impl Plaintext {
    /// Every rung, from the bottom.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Permit, Self::Require];

    /// Its name in policies and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Permit => "permit",
            Self::Require => "require",
        }
    }
}

/// Leave to forward one unsealed message: only the decision of a rule gives it, and forwarding takes it.
#[derive(Debug)]
pub struct PlaintextPermit(());

/// What a rule's conditions are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The path of the route.
    pub route: &'a str,
    /// Source LocURI, decoded; `None` if the message names no device, or not so that everybody would read the same name.
    pub device: Option<&'a [u8]>,
    /// Where the message came from.
    pub address: IpAddr,
    /// When.
    pub now: UnixTime,
}

/// What is done with unsealed messages to which all its conditions apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, each once.
    pub name: String,
    /// The path of a route, if it is about one.
    pub route: Option<String>,
    /// The devices that it is about, if it is about some.
    pub devices: Option<Devices>,
    /// The addresses that it is about, if it is about some.
    pub addresses: Option<Vec<IpNet>>,
    /// The second from which on it is as if it were not there.
    pub until: Option<UnixTime>,
    /// What it says.
    pub plaintext: Plaintext,
}

/// Why a rule does not decide: the first of its conditions that does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Miss {
    /// It has ended.
    #[error("it has ended")]
    Ended,
    /// It is about another route.
    #[error("it is about another route")]
    Route,
    /// The message came from another address.
    #[error("it is about other addresses")]
    Address,
    /// The message is another device's.
    #[error("it is about other devices")]
    Device,
    /// The message names no device, or none for certain.
    #[error("it is about some devices, and the message names none for certain")]
    NoDevice,
}

impl Rule {
    /// The first condition that does not apply, if there is one.
    pub fn miss(&self, subject: &Subject<'_>) -> Option<Miss> {
        // An IPv4 address is the same when it comes in an IPv6 socket.
        let address = subject.address.to_canonical();
        if self.has_ended(subject.now) {
            Some(Miss::Ended)
        } else if self.route.as_deref().is_some_and(|route| route != subject.route) {
            Some(Miss::Route)
        } else if self.addresses.as_ref().is_some_and(|all| !all.iter().any(|net| net.contains(&address))) {
            Some(Miss::Address)
        } else {
            match (&self.devices, subject.device) {
                (Some(_), None) => Some(Miss::NoDevice),
                (Some(devices), Some(source)) if !devices.contain(source) => Some(Miss::Device),
                _ => None,
            }
        }
    }

    fn has_ended(&self, now: UnixTime) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Whether it applies to everything for ever.
    const fn is_catch_all(&self) -> bool {
        self.route.is_none() && self.devices.is_none() && self.addresses.is_none() && self.until.is_none()
    }

    fn read(section: &mut Section<'_>, routes: &[Option<String>]) -> Option<Self> {
        let allowed = format!("the path of a [[route]]: {}", quoted(routes.iter().flatten()));
        let known = |path: &str| routes.iter().flatten().any(|route| route == path);
        let name = section.required("name", NAME_ALLOWED, text(NAME_ALLOWED, name));
        let route = section.optional("route", text(allowed, |path| known(path).then(|| path.to_owned())));
        let devices = section.optional("devices", Devices::read);
        let addresses = section.optional("addresses", nonempty_list(NET_ALLOWED, text(NET_ALLOWED, net)));
        let until = section.optional("until", until);
        let plaintext = choice(&Plaintext::ALL, Plaintext::name);
        let plaintext = section.required("plaintext", "\"observe\", \"permit\", \"require\"", plaintext);
        Some(Self { name: name?, route, devices, addresses, until, plaintext: plaintext? })
    }
}

impl fmt::Display for Rule {
    /// Its name, what it says and when.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.plaintext.name())?;
        if let Some(route) = &self.route {
            write!(f, ", on {route}")?;
        }
        if let Some(devices) = &self.devices {
            write!(f, ", of {devices}")?;
        }
        if let Some(addresses) = &self.addresses {
            let addresses: Vec<String> = addresses.iter().map(IpNet::to_string).collect();
            write!(f, ", from {}", addresses.join(", "))?;
        }
        match self.until {
            Some(until) => write!(f, ", until {until}"),
            None => Ok(()),
        }
    }
}

/// The rules of a policy. The last one applies to everything; without any in the policy, it requires a seal.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Those before the last.
    first: Vec<Rule>,
    last: Rule,
}

impl Default for Rules {
    fn default() -> Self {
        let last = Rule {
            name: "everybody".to_owned(),
            route: None,
            devices: None,
            addresses: None,
            until: None,
            plaintext: Plaintext::Require,
        };
        Self { first: Vec::new(), last }
    }
}

impl Rules {
    /// The rule that decides about an unsealed message: the first whose conditions all apply.
    pub fn decide(&self, subject: &Subject<'_>) -> Decision<'_> {
        Decision { rule: self.first.iter().find(|rule| rule.miss(subject).is_none()).unwrap_or(&self.last) }
    }

    /// Every rule, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.first.iter().chain([&self.last])
    }

    /// The rules that have ended by `now`, or will within a week: whoever needs them will be refused.
    pub fn endings(&self, now: UnixTime) -> Vec<Ending<'_>> {
        let ending = |rule: &'_ Rule| rule.until.filter(|until| *until <= now.plus(SOON));
        self.iter()
            .filter_map(|rule| Some(Ending { rule: &rule.name, until: ending(rule)?, ended: rule.has_ended(now) }))
            .collect()
    }

    /// Reads `[[rule]]`; `routes` are the paths of the routes.
    pub(super) fn read(root: &mut Section<'_>, routes: &[Option<String>]) -> Self {
        let mut sections = root.sections_if_any("rule");
        let Some(mut section) = sections.pop() else { return Self::default() };
        let mut names = Vec::new();
        let mut read = |section: &mut Section<'_>| {
            let rule = Rule::read(section, routes);
            if let Some(rule) = &rule {
                if names.contains(&rule.name) {
                    section.report("name", Cause::Twice { found: format!("{:?}", rule.name) });
                }
                names.push(rule.name.clone());
            }
            rule
        };
        let mut first = Vec::new();
        for mut section in sections {
            let rule = read(&mut section);
            if rule.as_ref().is_some_and(Rule::is_catch_all) {
                section.report("", Cause::Conflict(Conflict::CatchAllNotLast));
            }
            first.extend(rule);
            section.finish();
        }
        let last = read(&mut section);
        if last.as_ref().is_some_and(|last| !last.is_catch_all()) {
            section.report("", Cause::Conflict(Conflict::NoCatchAll));
        }
        section.finish();
        // Without a last rule there was a fault, and no policy is made of this.
        Self { first, last: last.unwrap_or_else(|| Self::default().last) }
    }
}

/// What the rules say of one message.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'r> {
    rule: &'r Rule,
}

impl<'r> Decision<'r> {
    /// The rule that decided.
    pub const fn rule(&self) -> &'r Rule {
        self.rule
    }

    /// What it says.
    pub const fn plaintext(&self) -> Plaintext {
        self.rule.plaintext
    }

    /// Leave to forward the message without a seal, if the rule gives it.
    pub const fn permit(&self) -> Option<PlaintextPermit> {
        match self.rule.plaintext {
            Plaintext::Observe | Plaintext::Permit => Some(PlaintextPermit(())),
            Plaintext::Require => None,
        }
    }
}

/// A rule with an end that has come, or comes soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending<'r> {
    /// Its name.
    pub rule: &'r str,
    /// Its end.
    pub until: UnixTime,
    /// Whether it has come.
    pub ended: bool,
}

impl fmt::Display for Ending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, until, ended } = self;
        match ended {
            true => write!(f, "rule {rule} ended at {until}: the rules after it decide for those that it was about"),
            false => write!(f, "rule {rule} ends soon, at {until}: from then on the rules after it decide"),
        }
    }
}

/// What counts as soon.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);

const NAME_ALLOWED: &str = "a name of 1 to 64 letters, digits, -, _ and .";
pub(super) const NET_ALLOWED: &str = "an address, or a range of addresses from its first on, such as \"10.1.0.0/16\"";
const UNTIL_ALLOWED: &str = "the last day, in UTC, such as 2027-01-31, or a time with its offset, such as \
     2027-01-31T12:00:00Z, without quotes";

fn name(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (matches!(text.len(), 1..=64) && text.bytes().all(fits)).then(|| text.to_owned())
}

/// An address or a range. An address inside of a range with the range's length is a slip that could let in too many.
pub(super) fn net(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical().into()),
        Err(_) => text.parse().ok().filter(|net: &IpNet| net.addr() == net.network()),
    }
}

/// An end: of a day, in UTC, or at a time.
fn until(setting: &Setting<'_>) -> Option<UnixTime> {
    let Some(date) = setting.value().as_datetime().filter(|time| time.time.is_none()) else {
        return value::time_or(UNTIL_ALLOWED)(setting);
    };
    let midnight =
        date.to_string().parse().ok().and_then(|date: Date| date.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok());
    let second = midnight.and_then(|midnight| u64::try_from(midnight.timestamp().as_second()).ok());
    second.map(UnixTime).or_else(|| setting.refuse(UNTIL_ALLOWED))
}

fn quoted<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
