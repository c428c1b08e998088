//! A checked policy as JSON, for those who look after a gateway or an agent: what is in force, defaults included. Of keys
//! and secrets it says the files and key ids, of a store not its password.
//!
//! Every field is taken apart by name here, so that none that is added can be forgotten.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Admin, AgentPolicy, AgentRecipients, Case, GatewayPolicy, HostField, Limits, Listener, ListenerTls, Log, Rate,
    Recipient, Retransmit, Route, Rule, Secret, Store, UpstreamTls,
};
use crate::crypto::{Algorithm, KeyTransport, NamedGroup};
use crate::seal::Layer;
use crate::session;
use crate::syncml::Form;

/// SHA-256 of a policy file's text: which version of the file it was.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FileDigest(pub [u8; 32]);

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileDigest({self})")
    }
}

impl GatewayPolicy {
    /// All of it as JSON.
    pub fn view(&self) -> Value {
        let Self {
            digest,
            listeners,
            public_url,
            provider,
            key_transports,
            recipients,
            secrets,
            algorithms,
            groups,
            require_exchange,
            early,
            sessions,
            store,
            message_limit,
            limits,
            in_flight_per_source,
            init_rate,
            init_rate_per_source,
            unwrap_queue,
            routes,
            rules,
            rollout,
            cases,
            admin,
            log,
            dangers,
            watch,
            files,
        } = self;
        let session::Limits { early_window, early_messages, .. } = sessions;
        let mut bounds = of_limits(limits, *message_limit);
        bounds["in_flight_per_source"] = json!(in_flight_per_source);
        bounds["init_rate"] = of_rate(init_rate);
        bounds["init_rate_per_source"] = of_rate(init_rate_per_source);
        bounds["unwrap_queue"] = json!(unwrap_queue);
        json!({
            "file_sha256": digest.to_string(),
            "files": files.iter().map(|path| file(path)).collect::<Vec<_>>(),
            "gateway": {
                "public_url": public_url.as_ref().map(ToString::to_string),
                "key_transports": names(key_transports, |kt: KeyTransport| kt.name()),
                "keys": recipients.iter().map(of_recipient).collect::<Vec<_>>(),
                "secrets": secrets.iter().map(of_secret).collect::<Vec<_>>(),
            },
            "listener": listeners.iter().map(of_listener).collect::<Vec<_>>(),
            "crypto": of_crypto(provider.name(), algorithms, groups, *require_exchange),
            "early": { "accept": early, "window": time(*early_window), "remembered": early_messages },
            "sessions": of_sessions(sessions, store),
            "limits": bounds,
            "route": routes.iter().map(of_route).collect::<Vec<_>>(),
            "rule": rules.iter().map(of_rule).collect::<Vec<_>>(),
            "rollout": { "state": rollout.state.as_deref().map(file), "devices": rollout.devices },
            "case": cases.iter().map(of_case).collect::<Vec<_>>(),
            "reload": { "watch": watch },
            "admin": of_admin(admin),
            "log": of_log(log),
            "dangerous": dangers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

impl AgentPolicy {
    /// All of it as JSON.
    pub fn view(&self) -> Value {
        let Self {
            digest,
            listeners,
            public_plaintext,
            public_url,
            gateway,
            gateway_names,
            recipients,
            provider,
            algorithms,
            groups,
            require_exchange,
            layer,
            early,
            retransmit: Retransmit { attempts, timeout, pause },
            sessions,
            connect_timeout,
            max_connections,
            message_limit,
            limits,
            extra_headers,
            extra_types,
            admin,
            log,
            dangers,
            watch,
            files,
        } = self;
        let (key_transport, pins) = match recipients {
            AgentRecipients::Rsa(keys) => {
                (KeyTransport::RsaOaep256, keys.iter().map(|key| key.key_id().to_string()).collect::<Vec<_>>())
            }
            AgentRecipients::Secret(..) => (KeyTransport::A256Kw, Vec::new()),
        };
        json!({
            "file_sha256": digest.to_string(),
            "files": files.iter().map(|path| file(path)).collect::<Vec<_>>(),
            "agent": {
                "public_url": public_url.as_ref().map(ToString::to_string),
                "gateway": gateway.to_string(),
                "gateway_names": gateway_names.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "key_transport": key_transport.name(),
                "keys": pins,
                "layer": layer.name(),
                "early": early,
                "connect_timeout": time(*connect_timeout),
                "max_connections": max_connections,
                "extra_headers": extra_headers,
                "extra_types": of_types(extra_types),
                "public_plaintext": public_plaintext,
            },
            "listener": listeners.iter().map(of_listener).collect::<Vec<_>>(),
            "crypto": of_crypto(provider.name(), algorithms, groups, *require_exchange),
            "retransmit": { "attempts": attempts, "timeout": time(*timeout), "pause": time(*pause) },
            "sessions": { "idle": time(sessions.idle), "total": sessions.sync_sessions },
            "limits": of_limits(limits, *message_limit),
            "reload": { "watch": watch },
            "admin": of_admin(admin),
            "log": of_log(log),
            "dangerous": dangers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

/// As policies write it.
fn time(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{} s", time.as_secs()) } else { format!("{} ms", time.as_millis()) }
}

fn file(file: &Path) -> String {
    file.display().to_string()
}

fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|value| name(*value)).collect()
}

fn of_crypto(provider: &str, algorithms: &[Algorithm], groups: &[NamedGroup], require_exchange: bool) -> Value {
    json!({
        "provider": provider,
        "algorithms": names(algorithms, Algorithm::name),
        "groups": names(groups, NamedGroup::name),
        "require_key_exchange": require_exchange,
    })
}

fn of_recipient(recipient: &Recipient) -> Value {
    json!({
        "kid": recipient.key_id().to_string(),
        "file": file(&recipient.file),
        "accept_until": recipient.accept_until.map(|until| until.to_string()),
    })
}

fn of_secret(secret: &Secret) -> Value {
    json!({
        "file": file(&secret.file),
        "devices": secret.devices.as_ref().map(ToString::to_string),
        "expires": secret.expires.map(|until| until.to_string()),
    })
}

fn of_listener(listener: &Listener) -> Value {
    let Listener { address, mode, balancers, tls } = listener;
    let tls = tls.as_ref().map(|ListenerTls { certificate, key, client_ca, tls }| {
        json!({
            "certificate": file(certificate),
            "key": file(key),
            "client_ca": client_ca.as_deref().map(file),
            "not_after": tls.identity().not_after().to_string(),
        })
    });
    json!({
        "address": address.to_string(),
        "mode": format!("{mode:04o}"),
        "tls": tls,
        "proxy_protocol_from": balancers.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn of_sessions(sessions: &session::Limits, store: &Store) -> Value {
    let session::Limits {
        idle,
        idle_after_end,
        second_request,
        age,
        requests,
        sessions,
        sessions_per_source,
        sessions_per_secret,
        sessions_per_rsa_key,
        stored_responses,
        early_window: _,
        early_messages: _,
        owner_idle,
        sync_sessions,
        targets,
        shared_targets,
        plaintext_sync_sessions,
        plaintext_sync_sessions_per_source,
    } = sessions;
    let store = match store {
        Store::Memory => json!("memory"),
        Store::Redis(settings) => json!({
            "servers": settings.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "sentinel": settings.sentinel,
            "timeout": time(settings.timeout),
            "start_timeout": time(settings.start_timeout),
        }),
    };
    json!({
        "idle": time(*idle),
        "idle_after_end": time(*idle_after_end),
        "second_request": time(*second_request),
        "age": time(*age),
        "requests": requests,
        "total": sessions,
        "per_source": sessions_per_source,
        "per_secret": sessions_per_secret,
        "per_key": sessions_per_rsa_key,
        "stored_responses": stored_responses,
        "owner_idle": time(*owner_idle),
        "sync_sessions": sync_sessions,
        "targets": targets,
        "shared_targets": shared_targets,
        "plaintext_sync_sessions": plaintext_sync_sessions,
        "plaintext_sync_sessions_per_source": plaintext_sync_sessions_per_source,
        "store": store,
    })
}

fn of_limits(limits: &Limits, message: usize) -> Value {
    let Limits {
        handshake_timeout,
        handshakes,
        header_read_timeout,
        body_timeout,
        idle_timeout,
        header,
        connections,
        connections_per_source,
        streams,
        in_flight,
        drain,
    } = limits;
    json!({
        "message": message,
        "handshake_timeout": time(*handshake_timeout),
        "handshakes": handshakes,
        "header_read_timeout": time(*header_read_timeout),
        "body_timeout": time(*body_timeout),
        "idle_timeout": time(*idle_timeout),
        "header": header,
        "connections": connections,
        "connections_per_source": connections_per_source,
        "streams": streams,
        "in_flight": in_flight,
        "drain": time(*drain),
    })
}

fn of_rate(Rate { interval, burst }: &Rate) -> Value {
    json!({ "interval_seconds": interval.as_secs_f64(), "burst": burst })
}

fn of_route(route: &Route) -> Value {
    let Route {
        path,
        targets,
        upstream,
        host,
        layers,
        bind_sessions,
        server_names,
        timeout,
        connect_timeout,
        extra_headers,
        extra_types,
        max_connections,
        queue_timeout,
        upstream_tls: UpstreamTls { ca, certificate, trust: _, identity: _ },
        forwarded,
        clients,
    } = route;
    json!({
        "path": path,
        "targets": targets,
        "upstream": upstream.to_string(),
        "host": match host {
            HostField::Upstream => "upstream",
            HostField::Target => "target",
        },
        "layers": names(layers, Layer::name),
        "bind_sessions": bind_sessions,
        "server_names": server_names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "timeout": time(*timeout),
        "connect_timeout": time(*connect_timeout),
        "extra_headers": extra_headers,
        "extra_types": of_types(extra_types),
        "max_connections": max_connections,
        "queue_timeout": time(*queue_timeout),
        "upstream_ca": ca.as_deref().map(file),
        "upstream_certificate": certificate.as_deref().map(file),
        "forwarded": forwarded.name(),
        "clients": clients.as_ref().map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>()),
    })
}

fn of_types(types: &[(String, Form)]) -> Value {
    let form = |form: &Form| match form {
        Form::Xml => json!("xml"),
        Form::Wbxml => json!("wbxml"),
    };
    Value::Object(types.iter().map(|(name, of)| (name.clone(), form(of))).collect())
}

fn of_case(case: &Case) -> Value {
    let Case { file: capture, path, from, device, content_type, expect } = case;
    json!({
        "file": file(capture),
        "path": path,
        "from": from,
        "device": device,
        "content_type": content_type,
        "expect": expect.to_string(),
    })
}

fn of_rule(rule: &Rule) -> Value {
    let Rule { name, route, devices, addresses, until, plaintext } = rule;
    let addresses = addresses.as_ref().map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
    json!({
        "name": name,
        "route": route,
        "devices": devices.as_ref().map(ToString::to_string),
        "addresses": addresses,
        "until": until.map(|until| until.to_string()),
        "plaintext": plaintext.name(),
    })
}

fn of_admin(admin: &Admin) -> Value {
    let Admin { listen, hosts, ready_needs_upstreams } = admin;
    json!({
        "listen": listen.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string),
        "hosts": hosts,
        "ready_needs_upstreams": ready_needs_upstreams.name(),
    })
}

fn of_log(log: &Log) -> Value {
    json!({ "format": log.format.name(), "filter": log.filter.to_string() })
}
