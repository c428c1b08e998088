//! Address books: directories of vCard files, one contact each.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A contact that the demo makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    /// The file's name, which is its address in SyncML, too.
    pub(super) file: &'static str,
    pub(super) name: &'static str,
    pub(super) phone: &'static str,
}

pub(super) const MIRA: Contact = Contact { file: "mira.vcf", name: "Mira Lindqvist", phone: "+1-202-555-0143" };
/// Mira with another number.
pub(super) const MIRA_MOVED: Contact = Contact { phone: "+1-202-555-0199", ..MIRA };
pub(super) const JONAS: Contact = Contact { file: "jonas.vcf", name: "Jonas Weber", phone: "+1-202-555-0117" };
pub(super) const TOMAS: Contact = Contact { file: "tomas.vcf", name: "Tomás Ferreira", phone: "+1-202-555-0162" };
pub(super) const INGRID: Contact = Contact { file: "ingrid.vcf", name: "Ingrid Solberg", phone: "+1-202-555-0128" };
pub(super) const KOFI: Contact = Contact { file: "kofi.vcf", name: "Kofi Mensah", phone: "+1-202-555-0175" };
pub(super) const NOOR: Contact = Contact { file: "noor.vcf", name: "Noor Haddad", phone: "+1-202-555-0184" };

pub(super) const LUCIA: Contact = Contact { file: "lucia.vcf", name: "Lucia Moreno", phone: "+1-202-555-0136" };
/// Lucia with another number.
pub(super) const LUCIA_MOVED: Contact = Contact { phone: "+1-202-555-0151", ..LUCIA };

/// All of them.
pub(super) const ALL: [Contact; 9] = [MIRA, MIRA_MOVED, JONAS, TOMAS, INGRID, KOFI, NOOR, LUCIA, LUCIA_MOVED];

impl Contact {
    fn card(&self) -> String {
        let (given, family) = self.name.split_once(' ').unwrap_or((self.name, ""));
        let Self { name, phone, .. } = self;
        format!(
            "BEGIN:VCARD\r\nVERSION:3.0\r\nN:{family};{given};;;\r\nFN:{name}\r\nTEL;TYPE=CELL:{phone}\r\nEND:VCARD\r\n"
        )
    }
}

/// An address book of one side.
#[derive(Clone, Debug)]
pub(super) struct Book(PathBuf);

impl Book {
    /// The book in a directory, with these contacts.
    pub(super) fn new(directory: PathBuf, contacts: &[Contact]) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let book = Self(directory);
        contacts.iter().try_for_each(|contact| book.put(contact))?;
        Ok(book)
    }

    /// Its directory.
    pub(super) fn directory(&self) -> &PathBuf {
        &self.0
    }

    /// Adds a contact, or changes it.
    pub(super) fn put(&self, contact: &Contact) -> io::Result<()> {
        fs::write(self.0.join(contact.file), contact.card())
    }

    /// Removes a contact.
    pub(super) fn remove(&self, contact: &Contact) -> io::Result<()> {
        fs::remove_file(self.0.join(contact.file))
    }

    /// The cards in it, sorted. Files have other names on the other side.
    pub(super) fn cards(&self) -> io::Result<Vec<String>> {
        let mut cards = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            cards.push(fs::read_to_string(entry?.path())?);
        }
        cards.sort_unstable();
        Ok(cards)
    }

    /// Those of [all](ALL) that are in it.
    pub(super) fn contacts(&self) -> io::Result<Vec<Contact>> {
        let cards = self.cards()?;
        Ok(ALL.into_iter().filter(|contact| cards.contains(&contact.card())).collect())
    }

    /// Whether it holds exactly these contacts.
    pub(super) fn holds(&self, contacts: &[Contact]) -> io::Result<bool> {
        let mut expected: Vec<String> = contacts.iter().map(Contact::card).collect();
        expected.sort_unstable();
        Ok(self.cards()? == expected)
    }
}
