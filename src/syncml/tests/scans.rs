//! What a scan finds in the documents that real peers write.

use super::*;

/// A usual document in XML, and the same in WBXML.
const BODY: &str = "<Alert><CmdID>1</CmdID><Data>201</Data></Alert><Final/>";
const WBXML_HDR: &str = "6c 71 03312e3200 01 72 0353796e634d4c2f312e3200 01 65 033700 01 5b 033100 01
    6e 57 03687474703a2f2f732f73796e6300 01 01 67 57 03494d45493a3100 01 01 01";
const WBXML_BODY: &str = "6b 46 4b033100 01 4f0332303100 01 01 12 01";

/// Asserts that a document scans to the usual header and body.
#[track_caller]
fn assert_usual(scan: Result<Document<'_>, InvalidDocument>) {
    let document = scan.unwrap();
    assert_eq!(header(&document), usual());
    assert_eq!(document.header.seal_marks, 0);
    assert_eq!(document.body.commands, Commands::from_iter([Command::Alert]));
    assert_eq!((document.body.n_commands, document.body.is_final), (1, true));
}

/// The table of the forms of XML found in the wild, but those in which there is something else to see.
#[test]
fn xml_in_all_its_forms_scans_alike() {
    let plain = xml(XML_HDR, BODY);
    let prefixed = plain.replace("</", "</\u{1}").replace('<', "<s:").replace("<s:/\u{1}", "</s:");
    let declaration = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
    let doctype = "<!DOCTYPE SyncML PUBLIC '-//SYNCML//DTD SyncML 1.2//EN' 'http://www.openmobilealliance.org/tech/DTD/\
        OMA-TS-SyncML_RepPro_DTD-V1_2.dtd'>";
    let with_namespace = |namespace: &str| plain.replacen("<SyncML>", &format!("<SyncML {namespace}>"), 1);
    for document in [
        plain.clone(),
        format!("{declaration}{plain}"),
        format!("\u{feff}{declaration}{plain}"),
        format!("\r\n{declaration}{plain}"),
        format!("\u{feff}\n{plain}"),
        format!("{declaration}\n{doctype}\n<!-- SyncML > <SyncHdr> -->{plain}"),
        with_namespace("xmlns='SYNCML:SYNCML1.2'"),
        with_namespace("xmlns=\"syncml:SYNCML1.1\""),
        with_namespace("xmlns='urn:whatever' xml:lang='en' a='>' b=\"'/>\""),
        prefixed.replacen("<s:SyncML>", "<s:SyncML xmlns:s='SYNCML:SYNCML1.2'>", 1),
        plain.replace("><", ">\r\n\t<"),
        plain.replace("><", "> <!-- <Target><LocURI>other</LocURI></Target> --><"),
        plain.replace("><", "><?pi <SyncHdr> ?><"),
        plain.replace('>', " >").replace("/ >", " />"),
        plain.replace("<Final/>", "<Final></Final>"),
        plain.replace("http://s/sync", "<![CDATA[http://s/sync]]>"),
        plain.replace("http://s/sync", "http://<![CDATA[s]]>/<![CDATA[]]>sy<![CDATA[nc]]>"),
        plain.replace("http://s/sync", "ht<!-- x -->tp://s<?y?>/sync"),
        plain.replace("http://s/sync", "http:&#47;&#x2F;s/s&#121;nc"),
        format!("{plain}\r\n"),
        format!("{plain}\0"),
        format!("{plain}<SyncML><SyncHdr/></SyncML>&garbage;"),
        plain.replace("201", "&lt;&amp;&gt;&quot;&apos;&#8364;&#233;"),
        plain.replace("201", "<DevInf xmlns='syncml:devinf'><VerDTD>1.1</VerDTD><Final/></DevInf>"),
        plain.replace("201", "<SyncML><SyncHdr><RespURI>x</RespURI></SyncHdr></SyncML>"),
        plain.replace("201", "]]>"),
        plain.replace("</SyncHdr>", "<NoResp/><Meta><MaxMsgSize xmlns='syncml:metinf'>1</MaxMsgSize></Meta></SyncHdr>"),
        plain.replace("</SyncHdr>", "<x:Vendor><SessionID>9</SessionID></x:Vendor></SyncHdr>"),
        plain.replace("</LocURI></Source>", "</LocURI><LocName>bob</LocName></Source>"),
        plain.replace("</SyncML>", "<Vendor><SyncHdr/></Vendor></SyncML>"),
    ] {
        assert_usual(scan_xml(document.as_bytes()));
    }
}

#[test]
fn wbxml_in_all_its_forms_scans_alike() {
    let fpi = digits(b"-//SYNCML//DTD SyncML 1.2//EN");
    let nokia = format!("ed 04 00 {} 01", str_i("SYNCML:SYNCML1.2"));
    for document in [
        format!("02 a401 6a 00 6d {WBXML_HDR} {WBXML_BODY} 01"),
        // Versions 1.0, 1.1 and 1.3; the identifiers of 1.0, 1.1 and device information, an unknown one.
        format!("00 9f51 6a 00 6d {WBXML_HDR} {WBXML_BODY} 01"),
        format!("01 9f53 03 00 6d {WBXML_HDR} {WBXML_BODY} 01"),
        format!("03 a403 00 00 6d {WBXML_HDR} {WBXML_BODY} 01"),
        format!("02 01 04 00 6d {WBXML_HDR} {WBXML_BODY} 01"),
        // The identifier in the string table, with and without NUL, and leading out of it.
        format!("02 00 00 6a 1d {fpi} 6d {WBXML_HDR} {WBXML_BODY} 01"),
        format!("02 00 00 6a 1e {fpi} 00 6d {WBXML_HDR} {WBXML_BODY} 01"),
        format!("02 00 7f 6a 00 6d {WBXML_HDR} {WBXML_BODY} 01"),
        // Padded integers.
        format!("02 80a401 80806a 808000 6d {WBXML_HDR} {WBXML_BODY} 01"),
        // Nokia's root, with an attribute; one without a value, and with all kinds of it.
        format!("02 a401 6a 00 {nokia} {WBXML_HDR} {WBXML_BODY} 01"),
        format!("02 a401 6a 00 ed 05 01 {WBXML_HDR} {WBXML_BODY} 01"),
        format!("02 a401 6a 00 ed 0003 05 85 c3026162 020a 830f 45 01 {WBXML_HDR} {WBXML_BODY} 01"),
        // Page switches: superfluous, doubled, before the root, before an END.
        format!("02 a401 6a 00 0000 6d 0000 {WBXML_HDR} 0001 0000 {WBXML_BODY} 0000 01"),
        format!("02 a401 6a 00 0001 0000 6d {WBXML_HDR} {WBXML_BODY} 0001 01"),
        // Nokia 6600: the page switches back before Meta's END.
        format!(
            "02 a401 6a 00 6d {} 5a 0001 4c033100 01 0000 01 01 {WBXML_BODY} 01",
            &WBXML_HDR[..WBXML_HDR.len() - 2]
        ),
        // Others switch behind SyncHdr.
        format!(
            "02 a401 6a 00 6d {} 5a 0001 4c033100 01 01 01 0000 {WBXML_BODY} 01",
            &WBXML_HDR[..WBXML_HDR.len() - 2]
        ),
        // Final with content; bytes behind the root.
        format!("02 a401 6a 00 6d {WBXML_HDR} {} 01", WBXML_BODY.replace("12 01", "52 01 01")),
        format!("02 a401 6a 00 6d {WBXML_HDR} {WBXML_BODY} 01 0d0a ffff"),
        // Data of every kind: OPAQUE with a nested document, a NUL, many tokens, a tag that nobody knows.
        format!("02 a401 6a 00 6d {WBXML_HDR} {} 01", WBXML_BODY.replace("0332303100", "c30a 02a4036a004a65010101")),
        format!(
            "02 a401 6a 00 6d {WBXML_HDR} {} 01",
            WBXML_BODY.replace("0332303100", "0300 c30100 020a 0002 7f 01 0000")
        ),
    ] {
        assert_usual(scan_wbxml(&hex(&document)));
    }
}

/// Each way to write a text, in each of the fields.
#[test]
fn a_field_is_text_tokens_of_any_kind_in_wbxml() {
    for text in [
        "03 494d45493a3100",
        "c3 06 494d45493a31",
        "83 05",
        "83 00 023a 0231",
        "03 494d00 c301 45 83 08",
        "02 49 02 4d 02 45 02 49 02 3a 02 31",
        "0300 c300 83 04 83 05",
    ] {
        // At 0 "IMEI", at 4 "", at 5 "IMEI:1", at 8 its end, "I:1".
        let table = digits(b"IMEI\0IMEI:1");
        let document = hex(&format!(
            "02 a401 6a 0b {table} 6d 6c 65 {text} 01 6e 57 {text} 01 01 67 57 {text} 01 01 61 {text} 01 01 01"
        ));
        let document = scan_wbxml(&document).unwrap();
        let expected = Some("IMEI:1".to_owned());
        assert_eq!(
            header(&document),
            Header {
                session_id: expected.clone(),
                target: expected.clone(),
                source: expected.clone(),
                resp_uri: expected,
                ..Header::default()
            },
            "{text}"
        );
    }
}

#[test]
fn a_field_of_one_run_is_borrowed() {
    for (form, document) in [
        (Form::Xml, XML_HDR.to_owned().into_bytes()),
        (Form::Xml, XML_HDR.replace("IMEI:1", "<![CDATA[IMEI:1]]>").into_bytes()),
        (Form::Wbxml, hex(WBXML_HDR)),
    ] {
        let document = match form {
            Form::Xml => [b"<SyncML>", &document[..], b"</SyncML>"].concat(),
            Form::Wbxml => [&hex("02 a401 6a 00 6d")[..], &document, b"\x01"].concat(),
        };
        let document = Document::scan(form, &document, &Limits::default()).unwrap();
        let text = document.text(document.header.source.as_ref().unwrap());
        assert!(matches!(text, std::borrow::Cow::Borrowed(b"IMEI:1")), "{text:?}");
    }
}

#[test]
fn a_field_can_be_long_empty_or_missing() {
    let long = "7".repeat(70_000);
    let document = xml(&XML_HDR.replace("<SessionID>7<", &format!("<SessionID>{long}<")), "");
    assert_eq!(header(&scan_xml(document.as_bytes()).unwrap()).session_id, Some(long));

    let document =
        scan_xml(b"<SyncML><SyncHdr><MsgID></MsgID><SessionID/><Source/><Target><LocURI/></Target></SyncHdr></SyncML>");
    assert_eq!(header(&document.unwrap()), Header { msg_id: Some(String::new()), ..Header::default() });
    let document = hex("02 a401 6a 00 6d 6c 5b 01 25 27 6e 17 01 01 01");
    assert_eq!(header(&scan_wbxml(&document).unwrap()), Header { msg_id: Some(String::new()), ..Header::default() });

    for document in ["<SyncML><SyncHdr/></SyncML>", "<SyncML><SyncHdr></SyncHdr><SyncBody/></SyncML>"] {
        let document = scan_xml(document.as_bytes()).unwrap();
        assert_eq!(header(&document), Header::default());
        assert_eq!(document.body, SyncBody::default());
    }
    let document = hex("02 a401 6a 00 6d 2c 2b 01");
    assert_eq!(header(&scan_wbxml(&document).unwrap()), Header::default());
}

#[test]
fn whoever_reads_the_header_reads_the_same() {
    let kind = |header: &str| scan_xml(format!("<SyncML>{header}</SyncML>").as_bytes()).unwrap_err().kind;
    assert_eq!(kind(""), Fault::NotOneSyncHdr);
    assert_eq!(kind("<SyncBody><SyncHdr/></SyncBody>"), Fault::NotOneSyncHdr);
    assert_eq!(kind("<SyncHdr/><SyncBody/><SyncHdr/>"), Fault::NotOneSyncHdr);
    assert_eq!(kind("<SyncHdr/><a:SyncHdr></a:SyncHdr>"), Fault::NotOneSyncHdr);
    assert_eq!(kind("<synchdr/>"), Fault::NotOneSyncHdr);
    for (name, inside) in [("VerDTD", "x"), ("VerProto", "x"), ("SessionID", "x"), ("MsgID", "x"), ("RespURI", "x")]
        .into_iter()
        .chain([("Target", "<LocURI>x</LocURI>"), ("Source", "<LocURI>x</LocURI>")])
    {
        let (full, empty) = (format!("<{name}>{inside}</{name}>"), format!("<{name}/>"));
        for (first, second) in [(&full, &full), (&full, &empty), (&empty, &full)] {
            assert_eq!(kind(&format!("<SyncHdr>{first}<Cred/>{second}</SyncHdr>")), Fault::Twice(name));
        }
    }
    assert_eq!(kind("<SyncHdr><Source><LocURI/><LocURI>x</LocURI></Source></SyncHdr>"), Fault::Twice("LocURI"));
    assert_eq!(kind("<SyncHdr><Source><LocURI>x<b/></LocURI></Source></SyncHdr>"), Fault::NotText("LocURI"));
    assert_eq!(kind("<SyncHdr><SessionID><SessionID>1</SessionID></SessionID></SyncHdr>"), Fault::NotText("SessionID"));
    assert_eq!(kind("<SyncHdr><Meta><EMI><EMI>syncseal:</EMI></EMI></Meta></SyncHdr>"), Fault::NotText("EMI"));

    let root = |document: &[u8]| scan_xml(document).unwrap_err();
    assert_eq!(root(b"<!-- --><SyncXX><SyncHdr/></SyncXX>"), Fault::NotSyncml.at(8));
    assert_eq!(root(b"<syncml><SyncHdr/></syncml>").kind, Fault::NotSyncml);
    assert_eq!(root(b"<SyncML/>").kind, Fault::NotOneSyncHdr);

    let wbxml = |body: &str| scan_wbxml(&hex(&format!("02 a401 6a 00 {body}"))).unwrap_err().kind;
    assert_eq!(wbxml("6b 2c 01"), Fault::NotSyncml);
    assert_eq!(wbxml("0001 6d 2c 01"), Fault::NotSyncml);
    assert_eq!(wbxml("2d"), Fault::NotOneSyncHdr);
    assert_eq!(wbxml("6d 0001 2c 01"), Fault::NotOneSyncHdr);
    assert_eq!(wbxml("6d 2c 2c 01"), Fault::NotOneSyncHdr);
    assert_eq!(wbxml("6d 6c 65033700 01 65033800 01 01 01"), Fault::Twice("SessionID"));
}

#[test]
fn xml_that_is_not_utf8_passes_outside_the_header() {
    // ISO-8859-1, and a character cut in two by a chunk of a large object; `<` behind a stray lead byte stays markup.
    for data in [&b"Andr\xe9"[..], b"\xe2\x82", b"<![CDATA[\xf0\x9f\x92]]>", b"\xe2\x82<b/>", b"\xff\xfe"] {
        let item = [b"<Item><Data>", data, b"</Data></Item>"].concat();
        let text = xml(XML_HDR, BODY);
        let at = text.find("</Alert>").unwrap();
        let document = [&text.as_bytes()[..at], &item, &text.as_bytes()[at..]].concat();
        assert_usual(scan_xml(&document));
        assert_eq!(scan_xml(&document).unwrap().bytes, document);
    }
    let document = xml(XML_HDR, BODY).into_bytes();
    let document: Vec<u8> = document.iter().map(|&b| if b == b':' { 0xe9 } else { b }).collect();
    assert_eq!(scan_xml(&document).unwrap_err().kind, Fault::NotUtf8);
    // UTF-16.
    let document: Vec<u8> = xml(XML_HDR, BODY).encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(scan_xml(&[b"\xff\xfe", &document[..]].concat()).is_err());
}

#[test]
fn seal_marks_are_counted_as_they_decode() {
    let count = |meta: &str| {
        let document = xml(&XML_HDR.replace("</SyncHdr>", &format!("{meta}</SyncHdr>")), "");
        scan_xml(document.as_bytes()).unwrap().header.seal_marks
    };
    let emi = |text: &str| format!("<Meta><EMI xmlns='syncml:metinf'>{text}</EMI></Meta>");
    for (text, expected) in [
        ("syncseal:AA==", 1),
        ("syncseal+:AA==", 1),
        ("syncseal?:AA==", 1),
        ("syncseal", 1),
        ("&#115;yncseal:", 1),
        ("sync<![CDATA[seal:]]>", 1),
        ("sync<!-- -->seal:", 1),
        ("syncsea", 0),
        ("x-syncseal:", 0),
        (" syncseal:", 0),
        ("", 0),
    ] {
        assert_eq!(count(&emi(text)), expected, "{text}");
    }
    assert_eq!(count(&format!("{}{}", emi("syncseal:"), emi("syncseal:"))), 2);
    assert_eq!(count("<Meta><MetInf><m:EMI>syncseal:</m:EMI><EMI>other</EMI><EMI/></MetInf></Meta>"), 1);
    assert_eq!(count("<Cred><Meta><EMI>syncseal:</EMI></Meta></Cred>"), 0);
    assert_eq!(count("<EMI>syncseal:</EMI>"), 0);
    assert_eq!(count("<Meta/>"), 0);

    let count = |content: &str| {
        let document = hex(&format!("02 a401 6a 08 73796e637365616c 6d 6c 5a 0001 46 {content} 01 01 01 0000 2b 01"));
        scan_wbxml(&document).unwrap().header.seal_marks
    };
    for (text, expected) in [
        ("c3 0b 73796e637365616c3a00ff", 1),
        ("03 73796e637365616c00", 1),
        ("03 73796e6300 c305 7365616c3a", 1),
        ("83 00", 1),
        ("02 73 83 01", 1),
        ("83 01", 0),
        ("c3 00", 0),
    ] {
        assert_eq!(count(text), expected, "{text}");
    }
}

#[test]
fn commands_are_found_at_any_depth() {
    let body = |body: &str| scan_xml(xml(XML_HDR, body).as_bytes()).unwrap().body;
    let set = |commands: &[Command]| commands.iter().copied().collect::<Commands>();

    use Command::*;
    let sync = body(
        "<Sync><CmdID>1</CmdID><Target><LocURI>a</LocURI></Target><Source/><Meta/><NumberOfChanges>2</NumberOfChanges>\
         <Atomic><CmdID>2</CmdID><Sequence><Add><CmdID>3</CmdID><Item><Data><Delete/></Data></Item></Add></Sequence></Atomic>\
         <Replace/></Sync><Map></Map>",
    );
    assert_eq!(sync.commands, set(&[Sync, Atomic, Sequence, Add, Replace, Map]));
    assert_eq!(sync.n_commands, 6);
    assert!(!sync.is_final && !sync.holds_only_status());

    let all = "Add Alert Atomic Copy Delete Exec Get Map Move Put Replace Results Search Sequence Status Sync";
    let every = body(&all.split(' ').map(|name| format!("<{name}/>")).collect::<String>());
    assert_eq!(every.commands.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>().join(" "), all);
    assert_eq!(every.n_commands, 16);

    assert_eq!(body("<Vendor><Add/></Vendor>").commands, set(&[Unknown]));
    assert_eq!(body("<Sync><Final/></Sync>").commands, set(&[Sync, Unknown]));
    assert!(!body("<Sync><Final/></Sync>").is_final);
    assert_eq!(body("<CmdID>1</CmdID>").commands, set(&[Unknown]));
    assert_eq!(body("<Final/>"), SyncBody { is_final: true, ..SyncBody::default() });
    assert!(body("<Status/><Status/><Final/>").holds_only_status());

    let two_bodies =
        scan_xml(b"<SyncML><SyncHdr/><SyncBody><Add/></SyncBody><SyncBody><Get/></SyncBody></SyncML>").unwrap();
    assert_eq!(two_bodies.body.commands, set(&[Add, Get]));
}

#[test]
fn the_status_of_sync_hdr_is_found() {
    let body = |body: &str| scan_xml(xml(XML_HDR, body).as_bytes()).unwrap().body;
    let status = |cmd_ref: &str, cmd: &str, inside: &str| {
        format!("<Status><CmdID>1</CmdID><CmdRef>{cmd_ref}</CmdRef><Cmd>{cmd}</Cmd>{inside}</Status>")
    };
    let code = |text: &str| body(text).hdr_status;
    assert_eq!(code(&status("0", "SyncHdr", "<Data>212</Data>")), Some(212));
    assert_eq!(code(&status("0", " SyncHdr\n", "<Data>\n 2<![CDATA[0]]>&#48; </Data>")), Some(200));
    assert_eq!(
        code(&(status("1", "Put", "<Data>404</Data>") + &status("0", "SyncHdr", "<Data>200</Data>"))),
        Some(200)
    );
    assert_eq!(
        code(&(status("0", "SyncHdr", "<Data>401</Data>") + &status("0", "SyncHdr", "<Data>200</Data>"))),
        Some(401)
    );
    assert_eq!(code(&status("1", "SyncHdr", "<Data>200</Data>")), None);
    assert_eq!(code(&status("0", "Sync", "<Data>200</Data>")), None);
    assert_eq!(code(&status("0", "SyncHdr", "<Item><Data>200</Data></Item>")), None);
    for data in ["", "2OO", "-200", "+200", "65536", "200 200", "<Data/>"] {
        assert_eq!(code(&status("0", "SyncHdr", &format!("<Data>{data}</Data>"))), None, "{data}");
    }
    assert_eq!(code(&format!("<Sync>{}</Sync>", status("0", "SyncHdr", "<Data>200</Data>"))), None);

    let chal = "<Chal><Meta><NextNonce>eA==</NextNonce></Meta></Chal>";
    assert!(body(&status("0", "SyncHdr", &format!("{chal}<Data>401</Data>"))).has_chal);
    assert!(body(&(status("0", "SyncHdr", "") + &status("3", "Sync", "<Chal/>"))).has_chal);
    assert!(!body(&status("0", "SyncHdr", "<Item><Data><Chal/></Data></Item>")).has_chal);

    let document = hex(&format!(
        "02 a401 6a 02 3000 6d {WBXML_HDR} 6b 69 4c 8300 01 4a c307 53796e63486472 01 49 01 4f 0332303000 01 01 01 01"
    ));
    let body = scan_wbxml(&document).unwrap().body;
    assert_eq!((body.hdr_status, body.has_chal), (Some(200), true));
}

#[test]
fn cred_counts_in_the_header_alone() {
    let has_cred = |header: &str, body: &str| scan_xml(xml(header, body).as_bytes()).unwrap().header.has_cred;
    for cred in ["<Cred/>", "<Cred><Meta/><Data>eDp5</Data></Cred>"] {
        assert!(has_cred(&XML_HDR.replace("</SyncHdr>", &format!("{cred}</SyncHdr>")), ""));
        assert!(!has_cred(XML_HDR, &format!("<Alert>{cred}</Alert>")));
    }
}

#[test]
fn media_types_are_compared_without_case() {
    let parse = |field: &str| MediaType::parse(field.as_bytes());
    let plain = MediaType { form: Form::Xml, dm: false, charset: None };
    for field in [
        "application/vnd.syncml+xml",
        "Application/VND.SyncML+XML",
        "  application/vnd.syncml+xml ; ",
        "application/vnd.syncml+xml; q=1;;",
        "application/vnd.syncml+xml; charset",
        "application/vnd.syncml+xml; charset=\"utf-8",
    ] {
        assert_eq!(parse(field), Some(plain.clone()), "{field}");
    }
    for (field, charset) in [
        ("application/vnd.syncml+xml;charset=utf-8", "utf-8"),
        ("application/vnd.syncml+xml; CharSet=\"UTF-8\"", "UTF-8"),
        ("application/vnd.syncml+xml; a=\"; charset=x\"; charset=uft-8 ; b=c", "uft-8"),
        ("application/vnd.syncml+xml; a; charset=\"a\\\"b\"", "a\"b"),
        ("application/vnd.syncml+xml; charset=a; charset=b", "a"),
    ] {
        assert_eq!(parse(field), Some(MediaType { charset: Some(charset.to_owned()), ..plain.clone() }), "{field}");
    }
    assert_eq!(parse("application/vnd.syncml+wbxml"), Some(MediaType { form: Form::Wbxml, ..plain.clone() }));
    assert_eq!(parse("application/vnd.syncml.dm+xml"), Some(MediaType { dm: true, ..plain.clone() }));
    assert_eq!(parse("application/vnd.syncml.dm+wbxml"), Some(MediaType { form: Form::Wbxml, dm: true, ..plain }));
    for field in
        ["", "text/xml", "application/vnd.syncml", "application/vnd.syncml+xml+x", "application/vnd.syncml+xml, a/b"]
    {
        assert_eq!(parse(field), None, "{field}");
    }
}

/// Peers differ in what they make of a name that is written in an unusual way; such a name can be told.
#[test]
fn what_peers_read_differently_is_ambiguous() {
    let plain = xml(XML_HDR, BODY);
    for (written, unambiguous) in [
        ("IMEI:1", true),
        (" IMEI:1\n", true),
        ("<![CDATA[IMEI]]>:&#49;", true),
        ("IM\u{e9}I:1", true),
        ("IM&#233;I:1", false),
        ("IMEI&#x20ac;:1", false),
        ("IMEI\u{1}:1", false),
    ] {
        let document = plain.replace("IMEI:1", written);
        let scan = Document::scan(Form::Xml, document.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(scan.is_unambiguous(scan.header.source.as_ref().unwrap()), unambiguous, "{written:?}");
    }
    for (written, unambiguous) in [
        ("03494d45493a3100", true),
        ("c306494d45493a31", true),
        ("03494d45493a00 0331 00", true),
        ("03494d45493a3100 0231", false),
        ("c308494d45493a310031", false),
    ] {
        let body = format!("{WBXML_HDR} {WBXML_BODY}").replace("03494d45493a3100", written);
        let document = hex(&format!("02a4016a00 6d {body} 01"));
        let scan = Document::scan(Form::Wbxml, &document, &Limits::default()).unwrap();
        assert_eq!(scan.is_unambiguous(scan.header.source.as_ref().unwrap()), unambiguous, "{written}");
    }
}
