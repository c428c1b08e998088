//! What goes on after the demo, and how to reach it with a client of one's own.

use std::env;

use super::show::Show;
use super::stage::{Line, PASSWORD, Stage, USER, url};

/// Lets everything run on without recording, and prints where it is and the commands that use it.
pub(super) fn say_how(show: &mut Show, stage: &Stage, lines: &[Line]) {
    lines.iter().for_each(|line| line.wire.stop_recording());
    stage.behind.stop_recording();
    let (gateway, files) = (url(stage.gateway), stage.directory().display());
    let agent = lines.first().map(|line| url(line.agent)).unwrap_or_default();
    let curl = "curl -s -H 'content-type: application/vnd.syncml+xml'";
    let program = env::current_exe().map_or_else(|_| "syncseal".to_owned(), |program| program.display().to_string());
    let inspect = format!("{program} inspect -");
    let message = stage.message_file();
    let message = format!("--data-binary @{}", message.display());

    show.heading("Server, gateway and agents go on until SIGINT (Ctrl-C) or SIGTERM; nothing is recorded any more");
    show.line("server", &url(stage.server));
    show.line("gateway", &gateway);
    for Line { layer, agent, .. } in lines {
        show.line("agent", &format!("{}   in the {} layer", url(*agent), layer.name()));
    }
    show.line("files", &format!("{files}   policies, key, address books; gone in the end"));

    show.heading("With curl: a first message to the agent, which seals it");
    show.command(&format!("{curl} {message} {agent} | {inspect}"));
    show.heading("The same to the gateway, which refuses it; and what the gateway takes");
    show.command(&format!("{curl} {message} {gateway} | {inspect}"));
    show.command(&format!("curl -s http://{}/.well-known/syncseal", stage.gateway));

    show.heading("With SyncEvolution: an address book of its own, kept in files");
    let syncevolution = "dbus-run-session -- syncevolution --daemon=no";
    show.command(&format!(
        "{syncevolution} --configure --keyring=no --template SyncEvolution \\\n    \
         --sync-property syncURL={agent} --sync-property username={USER} --sync-property password={PASSWORD} \\\n    \
         --source-property backend=file --source-property databaseFormat=text/vcard \\\n    \
         --source-property database=file://{files}/syncevolution --source-property sync=two-way \\\n    \
         --source-property uri=./contacts demo@syncseal addressbook"
    ));
    show.command(&format!("{syncevolution} --sync slow demo@syncseal"));
    show.command(&format!("{syncevolution} --remove demo@syncseal"));
    show.command(
        "# Debian 12: its client dies as it sends, but with tests/peers/client_fix.c built and preloaded (LD_PRELOAD).",
    );
}
