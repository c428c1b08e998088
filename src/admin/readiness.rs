//! What stands in the way of traffic, as far as a gateway and an agent have it in common.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::NotReady;
use crate::net::probe;
use crate::net::upstream::Address;

/// How long a server may take to accept a connection.
const WITHIN: Duration = Duration::from_secs(2);

/// How long what was found out counts: whoever asks more often does not trouble servers more often.
const FRESH: Duration = Duration::from_secs(1);

/// It was told to end.
pub fn draining() -> NotReady {
    NotReady { cause: "draining", detail: "it was told to end, and takes nothing new".to_owned() }
}

/// Finds out which servers are there. Clones share what was found.
#[derive(Clone, Debug, Default)]
pub struct Probes(Arc<Mutex<BTreeMap<String, Found>>>);

/// When a server was asked, and what is wrong with it.
type Found = (Instant, Result<(), String>);

impl Probes {
    /// The servers among these that cannot be reached, each with why.
    pub async fn unreachable(&self, addresses: impl IntoIterator<Item = String>) -> Vec<NotReady> {
        let mut found = self.0.lock().await;
        let wanted: BTreeSet<String> = addresses.into_iter().collect();
        found.retain(|address, (when, _)| when.elapsed() < FRESH && wanted.contains(address));
        let mut asking = JoinSet::new();
        for address in wanted {
            if found.contains_key(&address) {
                continue;
            }
            found.insert(address.clone(), (Instant::now(), Err("nothing is known of it".to_owned())));
            asking.spawn(async move {
                let reached = match address.parse::<Address>() {
                    Ok(parsed) => probe::reach(&parsed, WITHIN).await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                (address, reached)
            });
        }
        // One that broke off leaves what was put there first.
        while let Some(asked) = asking.join_next().await {
            if let Ok((address, reached)) = asked {
                found.insert(address, (Instant::now(), reached));
            }
        }
        found
            .iter()
            .filter_map(|(address, (_, reached))| {
                let error = reached.as_ref().err()?;
                Some(NotReady { cause: "upstream", detail: format!("{address} cannot be reached: {error}") })
            })
            .collect()
    }
}
