//! What the register keeps, forgets and says.

use super::*;
use crate::policy::Declined;
use crate::policy::tests::gateway_with;
use crate::seal::Reason;

const NOW: UnixTime = UnixTime(1_790_000_000);
const REQUIRED: Option<Objection> = Some(Objection::Refused(Reason::EncryptionRequired));

fn at(seconds: u64) -> UnixTime {
    UnixTime(NOW.0 + seconds)
}

fn saw(devices: &Devices, source: &[u8], speech: Speech, now: UnixTime) {
    let (route, address) = (&"/sync".into(), [192, 0, 2, 1].into());
    let objection = REQUIRED.filter(|_| speech == Speech::Plaintext);
    devices.saw(&Sighting { route, source, address, speech, objection, now });
}

fn names(devices: &Devices) -> Vec<String> {
    devices.snapshot(&Rules::default(), NOW).devices.into_iter().map(|line| line.seen.device).collect()
}

#[test]
fn a_device_has_one_line_with_what_it_spoke_and_when() {
    let devices = Devices::new(10);
    saw(&devices, b" phone\n", Speech::Plaintext, at(0));
    saw(&devices, b"phone", Speech::Sealed, at(5));
    saw(&devices, b"phone", Speech::Sealed, at(7));
    let [line] = &devices.snapshot(&Rules::default(), at(9)).devices[..] else { panic!("one line") };
    let seen = &line.seen;
    assert_eq!((seen.device.as_str(), seen.exact, seen.route.as_str()), ("phone", true, "/sync"));
    assert_eq!((seen.first_seen, seen.last_plaintext), (at(0), Some(at(0))));
    assert_eq!((seen.first_sealed, seen.last_sealed), (Some(at(5)), Some(at(7))));
    assert_eq!((seen.plaintext_messages, seen.sealed_messages, seen.objection), (1, 2, REQUIRED));
    assert_eq!((line.speaks, line.last_seen, line.breaks), (Speech::Sealed, at(7), false));
    saw(&devices, b"phone", Speech::Plaintext, at(8));
    let line = &devices.snapshot(&Rules::default(), at(9)).devices[0];
    assert_eq!((line.speaks, line.breaks, line.under.as_str()), (Speech::Plaintext, true, "require"));
}

#[test]
fn the_device_that_was_seen_longest_ago_gives_way() {
    let devices = Devices::new(2);
    for (source, second) in [("a", 0), ("b", 1), ("a", 2), ("c", 3)] {
        saw(&devices, source.as_bytes(), Speech::Sealed, at(second));
    }
    assert_eq!(names(&devices), ["c", "a"]);
    assert_eq!(devices.snapshot(&Rules::default(), NOW).forgotten, 1);
}

#[test]
fn names_are_cut_and_nothing_in_them_is_obeyed() {
    for (source, name, exact) in [
        (&b"IMEI:1"[..], "IMEI:1", true),
        ("Müller's \"phone\"\\1".as_bytes(), "Müller's \"phone\"\\1", true),
        (b"a\x1b[2J\x07b", "a\\u{1b}[2J\\u{7}b", false),
        (b"a\r\nb\0c", "a\\r\\nb\\0c", false),
        ("a\u{202e}b\u{200b}".as_bytes(), "a\\u{202e}b\\u{200b}", false),
        (b"a\xffb", "a\u{fffd}b", false),
    ] {
        assert_eq!(shown(source), (name.to_owned(), exact), "{source:?}");
    }
    let (name, exact) = shown(&[b'a'; LONGEST_NAME]);
    assert_eq!((name.len(), exact), (LONGEST_NAME, true));
    for long in [vec![b'a'; LONGEST_NAME + 1], vec![0x1b; 1 << 20], "ü".repeat(1000).into_bytes()] {
        let (name, exact) = shown(&long);
        assert!(name.len() <= LONGEST_NAME + '…'.len_utf8() && name.ends_with('…') && !exact, "{name}");
    }
}

#[test]
fn who_would_be_refused_depends_on_the_rules_and_on_when_it_was_seen() {
    let devices = Devices::new(10);
    saw(&devices, b"old", Speech::Plaintext, at(0));
    saw(&devices, b"IMEI:1", Speech::Plaintext, at(100));
    saw(&devices, b"IMEI:2", Speech::Sealed, at(100));
    saw(&devices, b"bad\x1b", Speech::Plaintext, at(100));
    let everybody = Rules::default();
    let broken = |rules: &Rules, since| {
        let Breaks { seen, mut broken } = devices.would_break(rules, at(since), at(200));
        broken.sort();
        (seen, broken.into_iter().map(|(_, device)| device).collect::<Vec<_>>())
    };
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(broken(&everybody, 0), (4, all(&["IMEI:1", "bad\\u{1b}", "old"])));
    assert_eq!(broken(&everybody, 100), (3, all(&["IMEI:1", "bad\\u{1b}"])));
    let rules = |text: &str| gateway_with(text).rules;
    let excepted = rules(
        "[[rule]]\nname = 'phones'\ndevices = '*1*'\nplaintext = 'permit'\n\
         [[rule]]\nname = 'rest'\nplaintext = 'require'\n",
    );
    // What is not the name as it came is no name for a rule.
    assert_eq!(broken(&excepted, 0), (4, all(&["bad\\u{1b}", "old"])));
    let observed = rules("[[rule]]\nname = 'all'\nplaintext = 'observe'\n");
    assert_eq!(broken(&observed, 0), (4, all(&[])));
    assert_eq!(devices.would_cut_off(&observed, &excepted, at(0), at(200)).broken.len(), 2);
    let newly = devices.would_cut_off(&excepted, &everybody, at(0), at(200));
    assert_eq!((newly.seen, newly.broken), (4, vec![("/sync".to_owned(), "IMEI:1".to_owned())]));
}

#[test]
fn a_snapshot_outlives_the_process_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("devices.json");
    assert!(load(&file).unwrap().is_none());
    let devices = Devices::new(10);
    saw(&devices, b"a", Speech::Plaintext, at(0));
    saw(&devices, b"b\x1b", Speech::Sealed, at(1));
    saw(&devices, b"a", Speech::Sealed, at(2));
    let snapshot = devices.snapshot(&Rules::default(), at(3));
    fs::write(&file, "what was there").unwrap();
    save(&file, &snapshot).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let read = load(&file).unwrap().unwrap();
    assert_eq!(read, snapshot);
    assert_eq!(Devices::restored(10, read.clone()).snapshot(&Rules::default(), at(3)), snapshot);
    assert_eq!(names(&Devices::restored(1, read)), ["a"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_snapshot_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("devices.json");
    for (text, word) in [
        ("", "no register of devices"),
        ("{\"version\":1}", "missing field"),
        ("{\"version\":2,\"taken\":\"2026-01-01T00:00:00Z\",\"forgotten\":0,\"devices\":[]}", "of version 2"),
        ("{\"version\":1,\"taken\":\"yesterday\",\"forgotten\":0,\"devices\":[]}", "no register of devices"),
    ] {
        fs::write(&file, text).unwrap();
        let error = load(&file).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    assert!(matches!(load(dir.path()), Err(StateError::Io(_))));
    assert!(matches!(
        save(&dir.path().join("no/file"), &Devices::new(1).snapshot(&Rules::default(), NOW)),
        Err(StateError::Io(_))
    ));
}

#[test]
fn objections_are_written_by_name() {
    for objection in Objection::ALL {
        let json = serde_json::to_string(&objection).unwrap();
        assert_eq!(json, format!("{:?}", objection.name()));
        assert_eq!(serde_json::from_str::<Objection>(&json).unwrap(), objection);
    }
    assert_eq!(Objection::ALL.iter().collect::<HashSet<_>>().len(), Objection::ALL.len());
    assert_eq!(Objection::from_name("method-not-allowed"), Some(Objection::Declined(Declined::Method)));
    assert!(serde_json::from_str::<Objection>("\"no-reason\"").is_err());
}
