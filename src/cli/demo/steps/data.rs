//! The data layer: another client of the same server, whose agent encrypts the user's data inside the documents.

use super::super::contacts::{Contact, LUCIA, LUCIA_MOVED};
use super::super::show::{Show, digits};
use super::super::stage::{Line, Stage};
use super::super::tap::{Change, HttpExchange};
use super::super::{Exit, cannot_go_on};
use super::{DATABASE, NONE, Play, is, refusal_in, result, told};
use crate::sample::{Counts, Mode};
use crate::seal::{Layer, Reason};
use crate::syncml::Form;

/// Another database, whose address is as long.
const OTHER_DATABASE: &str = "./calendar";

/// Plays in the data layer.
pub(super) async fn data_layer(show: &mut Show, stage: &Stage) -> Result<Line, Exit> {
    show.heading("The data layer: an agent encrypts the user's data, and leaves the documents readable");
    let mut play = Play::begin(show, stage, Layer::Data, "demo-tablet", &[LUCIA]).await?;
    let mut contacts = stage.server_book.contacts().map_err(cannot_go_on)?;
    contacts.push(LUCIA);
    play.slow_sync_in_documents(&contacts).await?;
    contacts.pop();
    contacts.push(LUCIA_MOVED);
    play.two_way_sync_in_documents(&contacts).await?;
    play.changed_address().await;
    play.end(&contacts)?;
    Ok(play.line)
}

impl Play<'_> {
    async fn slow_sync_in_documents(&mut self, contacts: &[Contact]) -> Result<(), Exit> {
        let scene = self.sync(Form::Xml, Mode::Slow).await;
        self.show.step("Slow sync in XML, in the data layer");
        if let Some(first) = scene.said.first() {
            self.show.line("sent", "The client's first message, to the agent; in it user name and password:");
            self.show.document("sent", &first.request);
            self.stage.keep_message(&first.request)?;
        }
        // The first exchange is the handshake.
        let sealed = scene.wire.get(1..).unwrap_or_default();
        if let Some(HttpExchange { request, .. }) = sealed.first() {
            self.show
                .line("wire", "The same over the wire, after a handshake: still SyncML, with the credentials sealed:");
            self.show.document("wire", request.body());
        }
        let at = scene.contact();
        if let Some(said) = scene.said.get(at) {
            self.show.line("sent", &format!("The client's message {} of {}:", at + 1, scene.said.len()));
            self.show.document("sent", &said.request);
        }
        if let Some(HttpExchange { request, .. }) = sealed.get(at) {
            self.show.line("wire", "The whole of it over the wire, for whoever is on the way and reads SyncML:");
            self.show.sealed_document("wire", request);
        }
        self.eavesdrop(&scene.wire, &LUCIA);
        let received = Counts { added: contacts.len() - 1, ..NONE };
        self.expect_report(&scene, true, Counts { added: 1, ..NONE }, received);
        self.expect_books(contacts)?;
        self.expect_transparent(&scene);
        let (plain, sealed) = (scene.plain(), scene.sealed());
        self.show.row("slow sync, XML, data", 2 * scene.wire.len(), plain, sealed, result(&scene.outcome));
        Ok(())
    }

    async fn two_way_sync_in_documents(&mut self, contacts: &[Contact]) -> Result<(), Exit> {
        self.book.put(&LUCIA_MOVED).map_err(cannot_go_on)?;
        let scene = self.sync(Form::Wbxml, Mode::TwoWay).await;
        self.show.step("Two-way sync in WBXML, in the data layer");
        self.show.line("client", &format!("{} has a new number: {}", LUCIA.name, LUCIA_MOVED.phone));
        let at = scene.contact();
        if let (Some(said), Some(exchange)) = (scene.said.get(at), scene.wire.get(at + 1)) {
            self.show.line("sent", &format!("The client's message {} of {}:", at + 1, scene.said.len()));
            self.show.document("sent", &said.request);
            self.show.line("wire", "What of it went over the wire:");
            self.show.sealed_document("wire", &exchange.request);
        }
        self.eavesdrop(&scene.wire, &LUCIA_MOVED);
        self.expect_report(&scene, false, Counts { replaced: 1, ..NONE }, NONE);
        self.expect_books(contacts)?;
        self.expect_transparent(&scene);
        let (plain, sealed) = (scene.plain(), scene.sealed());
        self.show.row("two-way sync, WBXML, data", 2 * scene.wire.len(), plain, sealed, result(&scene.outcome));
        Ok(())
    }

    /// Someone on the wire changes what they can read.
    async fn changed_address(&mut self) {
        // After the handshake.
        self.line.wire.tamper(1, Change::Overwrite { from: DATABASE, to: OTHER_DATABASE });
        let scene = self.sync(Form::Wbxml, Mode::TwoWay).await;
        self.show.step("A document with a changed address is refused");
        self.show.line("wire", "Someone writes another address into the client's first message on its way:");
        let mut refused = None;
        if let Some(HttpExchange { request, response }) = scene.wire.get(1) {
            self.show.line("wire", &format!("{}   {} bytes", request.start_line, digits(request.body().len())));
            for (was, address) in [("was", DATABASE), ("is ", OTHER_DATABASE)] {
                self.show.line("wire", &format!("  {was}   <LocURI>{address}</LocURI>"));
            }
            self.show.line("answer", "The gateway answers in SyncML, to whoever sent that:");
            self.show.document("answer", response.body());
            refused = refusal_in(Form::Wbxml, response.body());
        }
        self.show.line("client", &format!("says: {}", told(&scene.outcome)));
        let reason = Reason::CannotOpen;
        self.show
            .check(refused.is_some_and(|refusal| is(&refusal, reason)), &format!("refused with {}", reason.name()));
        self.expect_kept_from_server(&scene);
        self.refusal_row("changed address, data", &scene, reason);

        let scene = self.sync(Form::Wbxml, Mode::TwoWay).await;
        self.show.step("The client syncs again, and nothing was lost");
        self.eavesdrop(&scene.wire, &LUCIA_MOVED);
        self.expect_report(&scene, false, NONE, NONE);
        self.expect_transparent(&scene);
        let (plain, sealed) = (scene.plain(), scene.sealed());
        self.show.row("no changes, data", 2 * scene.wire.len(), plain, sealed, result(&scene.outcome));
    }
}
