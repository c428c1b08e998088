//! Readers of single values: numbers, durations, sizes, choices, lists.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use toml::de::DeValue;

use super::fault::Cause;
use super::reader::Setting;
use crate::session::UnixTime;

/// Units of durations, in milliseconds, from small to large.
const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of sizes, in bytes, from small to large.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// `true` or `false`.
pub(super) fn boolean(setting: &Setting<'_>) -> Option<bool> {
    setting.value().as_bool().or_else(|| setting.refuse("true or false"))
}

/// A whole number in `range`.
pub(super) fn count(range: RangeInclusive<usize>) -> impl Fn(&Setting<'_>) -> Option<usize> {
    move |setting| {
        let number = setting.value().as_integer();
        let number = number.and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
        number
            .filter(|number| range.contains(number))
            .or_else(|| setting.refuse(&format!("a whole number from {} to {}", range.start(), range.end())))
    }
}

/// A duration in `range`, such as `10 min`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Setting<'_>) -> Option<Duration> {
    move |setting| {
        let millis = |duration: &Duration| duration.as_millis() as u64;
        let bounds = millis(range.start())..=millis(range.end());
        quantity(setting, "a duration", DURATIONS, bounds).map(Duration::from_millis)
    }
}

/// A size in bytes in `range`, such as `16 MiB`.
pub(super) fn size(range: RangeInclusive<usize>) -> impl Fn(&Setting<'_>) -> Option<usize> {
    move |setting| {
        let bounds = *range.start() as u64..=*range.end() as u64;
        quantity(setting, "a size", SIZES, bounds).and_then(|size| usize::try_from(size).ok())
    }
}

fn quantity(setting: &Setting<'_>, what: &str, units: &[(&str, u64)], range: RangeInclusive<u64>) -> Option<u64> {
    let allowed = || {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        let (from, to) = (in_units(*range.start(), units), in_units(*range.end(), units));
        format!("{what} with its unit ({}) from \"{from}\" to \"{to}\"", names.join(", "))
    };
    let text = match setting.value() {
        DeValue::String(text) => text.trim(),
        DeValue::Integer(_) | DeValue::Float(_) => {
            return setting.report(Cause::Unitless { found: setting.found(), allowed: allowed() });
        }
        _ => return setting.refuse(&allowed()),
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return setting.report(Cause::Unitless { found: setting.found(), allowed: allowed() });
    }
    in_smallest(text, units).filter(|value| range.contains(value)).or_else(|| setting.refuse(&allowed()))
}

/// A whole number with its unit, in the smallest of the units.
fn in_smallest(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A rate such as `20/s`, as the time between two of what it counts.
pub(super) fn rate(setting: &Setting<'_>) -> Option<Duration> {
    const UNITS: &[(&str, u64)] = &[("s", 1), ("min", 60), ("h", 3600)];
    let read = |text: &str| {
        let (number, unit) = text.split_once('/')?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let number: u32 = number.trim().parse().ok()?;
        (1..=MOST_OF_RATE).contains(&number).then(|| Duration::from_secs(*seconds) / number)
    };
    text(format!("a rate from \"1/h\" to \"{MOST_OF_RATE}/s\" (s, min, h)"), read)(setting)
}

/// The greatest number of a rate.
const MOST_OF_RATE: u32 = 1_000_000;

/// Reads a duration as policies write it, such as `30 d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    in_smallest(text.trim(), DURATIONS).map(Duration::from_millis)
}

/// `value` in the largest unit in which it is a whole number.
fn in_units(value: u64, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor));
    let (name, factor) = fitting.copied().unwrap_or(("", 1));
    format!("{} {name}", value / factor)
}

/// A time with its offset, such as `2027-01-31T00:00:00Z`, not a string.
pub(super) fn time(setting: &Setting<'_>) -> Option<UnixTime> {
    time_or("a time with its offset, such as 2027-01-31T00:00:00Z, without quotes")(setting)
}

/// As [`time`]; `allowed` says what else its caller takes.
pub(super) fn time_or(allowed: &str) -> impl Fn(&Setting<'_>) -> Option<UnixTime> {
    move |setting| {
        let seconds = setting.value().as_datetime().and_then(|time| {
            // One without an offset is no instant, and is not taken.
            let time: Timestamp = time.to_string().parse().ok()?;
            u64::try_from(time.as_second()).ok()
        });
        seconds.map(UnixTime).or_else(|| setting.refuse(allowed))
    }
}

/// A string of which `parse` makes something. `allowed` says which strings those are.
pub(super) fn text<T>(
    allowed: impl Into<String>,
    parse: impl Fn(&str) -> Option<T>,
) -> impl Fn(&Setting<'_>) -> Option<T> {
    let allowed = allowed.into();
    move |setting| setting.value().as_str().and_then(&parse).or_else(|| setting.refuse(&allowed))
}

/// One of these, by name.
pub(super) fn choice<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> impl Fn(&Setting<'_>) -> Option<T> {
    let all: Vec<(&'static str, T)> = all.iter().map(|value| (name(*value), *value)).collect();
    let quoted: Vec<String> = all.iter().map(|(name, _)| format!("{name:?}")).collect();
    text(quoted.join(", "), move |text| all.iter().find(|(name, _)| *name == text).map(|(_, value)| *value))
}

/// A list of what `read` reads, each once; `allowed` says what an item is. A single string is a list of one.
pub(super) fn list<'a, T: PartialEq>(
    allowed: &str,
    read: impl Fn(&Setting<'a>) -> Option<T>,
) -> impl Fn(&Setting<'a>) -> Option<Vec<T>> {
    move |setting| {
        let mut values = Vec::new();
        for item in setting.items(allowed)? {
            match read(&item) {
                Some(value) if values.contains(&value) => {
                    item.report::<()>(Cause::Twice { found: item.found() });
                }
                value => values.extend(value),
            }
        }
        Some(values)
    }
}

/// A list as [`list`] reads it, with at least one item.
pub(super) fn nonempty_list<'a, T: PartialEq>(
    allowed: &str,
    read: impl Fn(&Setting<'a>) -> Option<T>,
) -> impl Fn(&Setting<'a>) -> Option<Vec<T>> {
    let list = list(allowed, read);
    move |setting| match setting.value() {
        DeValue::Array(items) if items.is_empty() => setting.report(Cause::Refused {
            found: "an empty list".to_owned(),
            allowed: format!("a list, each item {allowed}"),
        }),
        _ => list(setting),
    }
}
