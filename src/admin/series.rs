//! Counters, gauges and histograms with labels whose values are known beforehand: every series is there from the start,
//! at zero, and no scrape grows by what strangers send. Counting looks nothing up but a place in an array.
//!
//! Where a value comes from the policy, as the name of a route does, a [`Named`] holds a set of series for each, and lets
//! go of those that a later policy no longer has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A label with a closed set of values.
pub trait Label: Copy + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Every value.
    const ALL: &'static [Self];

    /// The value as it is written.
    fn value(self) -> &'static str;
}

/// Makes an enum a [`Label`]: its name as label, and the text of each value.
macro_rules! label {
    ($(#[$meta:meta])* $vis:vis enum $name:ident = $label:literal { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $crate::admin::series::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn value(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}
pub(crate) use label;

/// One label or several: what tells the series of a [`Table`] apart.
pub trait Labels: Copy + fmt::Debug + Send + Sync + 'static {
    /// How many series there are.
    const LEN: usize;

    /// The place of these values among all.
    fn index(self) -> usize;

    /// The names and values at a place.
    fn pairs(index: usize) -> Vec<(&'static str, &'static str)>;
}

fn position<A: Label>(value: A) -> usize {
    A::ALL.iter().position(|other| *other == value).unwrap_or_default()
}

fn pair<A: Label>(index: usize) -> Option<(&'static str, &'static str)> {
    A::ALL.get(index).map(|value| (A::NAME, value.value()))
}

impl<A: Label> Labels for (A,) {
    const LEN: usize = A::ALL.len();

    fn index(self) -> usize {
        position(self.0)
    }

    fn pairs(index: usize) -> Vec<(&'static str, &'static str)> {
        pair::<A>(index).into_iter().collect()
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const LEN: usize = A::ALL.len() * B::ALL.len();

    fn index(self) -> usize {
        position(self.0) * B::ALL.len() + position(self.1)
    }

    fn pairs(index: usize) -> Vec<(&'static str, &'static str)> {
        let n = B::ALL.len();
        pair::<A>(index / n).into_iter().chain(pair::<B>(index % n)).collect()
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    const LEN: usize = A::ALL.len() * B::ALL.len() * C::ALL.len();

    fn index(self) -> usize {
        (self.0, self.1).index() * C::ALL.len() + position(self.2)
    }

    fn pairs(index: usize) -> Vec<(&'static str, &'static str)> {
        let n = C::ALL.len();
        <(A, B)>::pairs(index / n).into_iter().chain(pair::<C>(index % n)).collect()
    }
}

/// What one series holds.
pub trait Series: EncodeMetric + TypedMetric + fmt::Debug + Send + Sync + 'static {
    /// One that has seen nothing. Times are what histograms are of, in seconds.
    fn fresh() -> Self;
}

impl Series for Counter {
    fn fresh() -> Self {
        Self::default()
    }
}

impl Series for Gauge {
    fn fresh() -> Self {
        Self::default()
    }
}

/// The upper bounds of times, in seconds: what a memory access costs, and what a client no longer waits for.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

impl Series for Histogram {
    fn fresh() -> Self {
        Self::new(SECONDS)
    }
}

/// All series of one metric. Clones share them.
#[derive(Debug)]
pub struct Table<L, M> {
    series: Arc<[M]>,
    labels: std::marker::PhantomData<L>,
}

impl<L, M> Clone for Table<L, M> {
    fn clone(&self) -> Self {
        Self { series: Arc::clone(&self.series), labels: self.labels }
    }
}

impl<L: Labels, M: Series> Default for Table<L, M> {
    fn default() -> Self {
        Self { series: (0..L::LEN).map(|_| M::fresh()).collect(), labels: std::marker::PhantomData }
    }
}

impl<L: Labels, M: Series> Table<L, M> {
    /// The series with these values.
    #[expect(clippy::indexing_slicing, reason = "there is a series for every value of every label")]
    pub fn at(&self, labels: L) -> &M {
        &self.series[labels.index()]
    }

    fn encode_with(&self, name: &[(&'static str, &str)], encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        for (index, series) in self.series.iter().enumerate() {
            let pairs = Pairs(name, L::pairs(index));
            series.encode(encoder.encode_family(&pairs)?)?;
        }
        Ok(())
    }
}

impl<L: Labels, M: Series> EncodeMetric for Table<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.encode_with(&[], &mut encoder)
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

/// A table for each name that the policy gives. Clones share them.
#[derive(Debug)]
pub struct Named<L, M> {
    label: &'static str,
    tables: Arc<RwLock<Tables<L, M>>>,
}

/// By name.
type Tables<L, M> = BTreeMap<Arc<str>, Table<L, M>>;

impl<L, M> Clone for Named<L, M> {
    fn clone(&self) -> Self {
        Self { label: self.label, tables: Arc::clone(&self.tables) }
    }
}

impl<L: Labels, M: Series> Named<L, M> {
    /// None yet; the names are values of `label`.
    pub fn new(label: &'static str) -> Self {
        Self { label, tables: Arc::default() }
    }

    /// The table of a name, to be kept by whoever counts in it.
    pub fn table(&self, name: &str) -> Table<L, M> {
        self.write().entry(name.into()).or_default().clone()
    }

    /// Counts in the table of a name, if it is still there.
    pub fn with<T>(&self, name: &str, count: impl FnOnce(&Table<L, M>) -> T) -> Option<T> {
        self.read().get(name).map(count)
    }

    /// Lets go of all but these names. Who still counts in one that is gone counts for nobody.
    pub fn retain(&self, mut is_kept: impl FnMut(&str) -> bool) {
        self.write().retain(|name, _| is_kept(name));
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables<L, M>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables<L, M>> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Labels, M: Series> EncodeMetric for Named<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.read().iter().try_for_each(|(name, table)| table.encode_with(&[(self.label, name)], &mut encoder))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.read().is_empty()
    }
}

/// A name of the policy's, and the values of closed labels.
#[derive(Debug)]
struct Pairs<'a>(&'a [(&'static str, &'a str)], Vec<(&'static str, &'static str)>);

impl EncodeLabelSet for Pairs<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)?;
        self.1.encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    label! {
        enum Colour = "colour" {
            Red = "red",
            Green = "green",
        }
    }

    label! {
        enum Size = "size" {
            Small = "small",
            Large = "large",
            Huge = "huge",
        }
    }

    fn shown(registry: &Registry) -> Vec<String> {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn every_series_is_there_from_the_start_and_counts_apart() {
        let mut registry = Registry::default();
        let table = Table::<(Colour, Size), Counter>::default();
        registry.register("things", "Things", table.clone());
        table.at((Colour::Green, Size::Large)).inc_by(3);
        table.at((Colour::Red, Size::Huge)).inc();
        assert_eq!(
            shown(&registry),
            [
                "things_total{colour=\"red\",size=\"small\"} 0",
                "things_total{colour=\"red\",size=\"large\"} 0",
                "things_total{colour=\"red\",size=\"huge\"} 1",
                "things_total{colour=\"green\",size=\"small\"} 0",
                "things_total{colour=\"green\",size=\"large\"} 3",
                "things_total{colour=\"green\",size=\"huge\"} 0",
            ]
        );
    }

    #[test]
    fn three_labels_tell_series_apart() {
        let mut registry = Registry::default();
        let three = Table::<(Colour, Size, Colour), Counter>::default();
        registry.register("three", "Three", three.clone());
        three.at((Colour::Green, Size::Small, Colour::Red)).inc();
        let shown = shown(&registry);
        assert_eq!(shown.len(), 12);
        assert_eq!(shown.iter().filter(|line| line.ends_with(" 1")).count(), 1);
        assert!(shown.contains(&"three_total{colour=\"green\",size=\"small\",colour=\"red\"} 1".to_owned()));
    }

    #[test]
    fn a_name_that_is_gone_takes_its_series_along() {
        let mut registry = Registry::default();
        let named = Named::<(Colour,), Counter>::new("rule");
        registry.register("hits", "Hits", named.clone());
        let (old, new) = (named.table("o\"ld"), named.table("new"));
        old.at((Colour::Red,)).inc();
        new.at((Colour::Red,)).inc();
        named.table("new").at((Colour::Red,)).inc();
        assert_eq!(shown(&registry).len(), 4);
        assert!(shown(&registry).contains(&"hits_total{rule=\"o\\\"ld\",colour=\"red\"} 1".to_owned()));
        named.retain(|name| name == "new");
        old.at((Colour::Red,)).inc();
        assert_eq!(
            shown(&registry),
            ["hits_total{rule=\"new\",colour=\"red\"} 2", "hits_total{rule=\"new\",colour=\"green\"} 0"]
        );
    }
}
