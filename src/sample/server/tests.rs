use std::fmt::Write as _;

use super::*;

const XML: &[u8] = b"application/vnd.syncml+xml";

/// A server over an empty directory.
fn server() -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::new(directory.path().join("book"), Config::default()).unwrap();
    (directory, server)
}

fn say(server: &Server, target: &str, message: &str) -> String {
    let answer = server.handle(XML, target, message.as_bytes());
    assert_eq!((answer.status, answer.content_type), (200, "application/vnd.syncml+xml"));
    String::from_utf8(answer.body).unwrap()
}

/// A message of version `dtd` and `proto` with valid credentials.
fn message(dtd: &str, proto: &str, commands: &str) -> String {
    format!(
        "<SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>{dtd}</VerDTD><VerProto>{proto}</VerProto>\
         <SessionID>9</SessionID><MsgID>4</MsgID><Target><LocURI>http://h/s?a=b&amp;sessionid=x</LocURI></Target>\
         <Source><LocURI>phone</LocURI></Source><Cred><Data>YWxpY2U6c2VjcmV0</Data></Cred></SyncHdr>\
         <SyncBody>{commands}<Final/></SyncBody></SyncML>"
    )
}

/// The Status codes of an answer, as `command code`.
fn statuses(answer: &str) -> Vec<String> {
    let root = document::read(Form::Xml, answer.as_bytes()).unwrap();
    let message = Message::parse(root).unwrap();
    let statuses = message.commands().filter(|command| command.name() == "Status");
    statuses
        .map(|status| {
            let mut text = status.element.text_at(&["Cmd"]).unwrap().to_owned();
            write!(text, " {}", status.code().unwrap()).unwrap();
            text
        })
        .collect()
}

#[test]
fn versions_that_are_not_spoken_are_refused_with_those_that_are() {
    let (_directory, server) = server();
    let answer = say(&server, "/", &message("1.0", "SyncML/1.0", ""));
    assert_eq!(statuses(&answer), ["SyncHdr 505"]);
    assert!(answer.contains("<Item><Data>1.1</Data></Item><Item><Data>1.2</Data></Item>"));
    let answer = say(&server, "/", &message("1.2", "DM/1.2", "<Get><CmdID>1</CmdID></Get>"));
    assert_eq!(statuses(&answer), ["SyncHdr 513", "Get 513"]);
    assert!(answer.contains("<Item><Data>SyncML/1.2</Data></Item>"));
}

#[test]
fn every_command_gets_a_status_in_order() {
    let (_directory, server) = server();
    let commands = "<Put><CmdID>1</CmdID><Item><Source><LocURI>./devinf12</LocURI></Source><Data/></Item></Put>\
        <Get><CmdID>2</CmdID><Item><Target><LocURI>./devinf12</LocURI></Target></Item></Get>\
        <Get><CmdID>3</CmdID><Item><Target><LocURI>./other</LocURI></Target></Item></Get>\
        <Exec><CmdID>4</CmdID></Exec><Add><CmdID>5</CmdID></Add><Invented><CmdID>6</CmdID></Invented>\
        <Copy><CmdID>7</CmdID><NoResp/></Copy><Alert><CmdID>8</CmdID><Data>204</Data></Alert>\
        <Sync><CmdID>9</CmdID><Target><LocURI>./contacts</LocURI></Target><Delete><CmdID>10</CmdID></Delete></Sync>";
    let answer = say(&server, "/", &message("1.2", "SyncML/1.2", commands));
    let expected = [
        "SyncHdr 212",
        "Put 200",
        "Get 200",
        "Get 404",
        "Exec 406",
        "Add 405",
        "Invented 405",
        "Alert 406",
        "Sync 403",
        "Delete 403",
    ];
    assert_eq!(statuses(&answer), expected);
    assert!(answer.contains("<Results>") && answer.contains("<DevInf xmlns='syncml:devinf'><VerDTD>1.2</VerDTD>"));
    assert!(answer.contains("<MsgID>4</MsgID>") && answer.contains("<Final/>"));
}

#[test]
fn resp_uri_keeps_the_query_and_replaces_an_old_session() {
    assert_eq!(with_session_id("http://h/s", "7").unwrap(), "http://h/s?sessionid=7");
    assert_eq!(with_session_id("HTTPS://h/s?a=b&sessionid=1&c", "7").unwrap(), "HTTPS://h/s?a=b&c&sessionid=7");
    assert_eq!(with_session_id("/s", "7"), None);
    assert_eq!(with_session_id("urn://s", "7"), None);
    assert_eq!(session_id("/s?a=b&sessionid=7"), Some("7"));
    assert_eq!(session_id("/s?a=sessionid"), None);
}

#[test]
fn credentials_of_another_scheme_are_challenged() {
    let (_directory, server) = server();
    let meta = "<Cred><Meta><Type xmlns='syncml:metinf'>syncml:auth-md5</Type></Meta>";
    let answer = say(&server, "/", &message("1.2", "SyncML/1.2", "").replace("<Cred>", meta));
    assert_eq!(statuses(&answer), ["SyncHdr 401"]);
    assert!(answer.contains("<Chal>") && answer.contains(">syncml:auth-basic</Type>"));
    assert!(!answer.contains("RespURI"));
}
