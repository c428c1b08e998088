//! What the window for operators shows, read as Prometheus and an operator read it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::http::{Answer, exchange};

/// Asks the window for a path.
pub(crate) async fn ask(admin: SocketAddr, method: &str, path: &str, fields: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{fields}\r\n");
    exchange(admin, request.as_bytes()).await
}

/// The status and the JSON of a path.
pub(crate) async fn json(admin: SocketAddr, path: &str) -> (u16, Value) {
    let answer = ask(admin, "GET", path, "").await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}")))
}

/// Waits until `/readyz` gives this status, and gives its causes, by name.
pub(crate) async fn readiness(admin: SocketAddr, status: u16) -> Vec<(String, String)> {
    loop {
        let (found, body) = json(admin, "/readyz").await;
        if found == status {
            assert_eq!(body["ready"], status == 200);
            let causes = body["causes"].as_array().unwrap().iter();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            return causes.map(|cause| (text(&cause["cause"]), text(&cause["detail"]))).collect();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One line of a scrape.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// One scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    samples: Vec<Sample>,
    /// Type and help of each metric.
    pub(crate) families: BTreeMap<String, (String, String)>,
}

impl Scrape {
    /// Scrapes a gateway or an agent.
    pub(crate) async fn of(admin: SocketAddr) -> Self {
        let answer = ask(admin, "GET", "/metrics", "").await;
        assert_eq!(answer.status, 200);
        Self::parse(std::str::from_utf8(&answer.body).unwrap())
    }

    /// As soon as no exchange is in flight.
    pub(crate) async fn at_rest(admin: SocketAddr, in_flight: &str) -> Self {
        loop {
            let scrape = Self::of(admin).await;
            if scrape.sum(in_flight, &[]) == 0.0 {
                return scrape;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn parse(text: &str) -> Self {
        let mut scrape = Self { samples: Vec::new(), families: BTreeMap::new() };
        assert!(text.ends_with("# EOF\n"));
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                match (words.next(), words.next(), words.next()) {
                    (Some("HELP"), Some(name), Some(help)) => {
                        let family = scrape.families.entry(name.to_owned()).or_default();
                        assert!(family.1.is_empty(), "{name} twice");
                        family.1 = help.to_owned();
                    }
                    (Some("TYPE"), Some(name), Some(kind)) => {
                        scrape.families.entry(name.to_owned()).or_default().0 = kind.to_owned();
                    }
                    (Some("UNIT"), Some(name), Some(unit)) => assert!(name.ends_with(unit), "{line}"),
                    (Some("EOF"), ..) => {}
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap().split(',').filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                (name.to_owned(), value.strip_suffix('"').unwrap().to_owned())
            });
            let sample = Sample { name: name.to_owned(), labels: labels.collect(), value: value.parse().unwrap() };
            scrape.samples.push(sample);
        }
        scrape
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        let fits =
            |sample: &Sample| labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|v| v == value));
        self.samples.iter().filter(move |sample| sample.name == name && fits(sample))
    }

    /// The sum over the series of this name with these labels.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        assert!(self.has(name, labels), "no {name} {labels:?}");
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// Whether there is a series of this name with these labels.
    pub(crate) fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    /// The names of samples, each with the names of its labels.
    pub(crate) fn names(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut names = BTreeMap::<_, BTreeSet<_>>::new();
        for sample in &self.samples {
            names.entry(&*sample.name).or_default().extend(sample.labels.keys().map(String::as_str));
        }
        names
    }

    /// The values of labels, each with the label's name.
    pub(crate) fn values(&self) -> BTreeSet<(&str, &str)> {
        self.samples.iter().flat_map(|sample| &sample.labels).map(|(name, value)| (&**name, &**value)).collect()
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }
}
