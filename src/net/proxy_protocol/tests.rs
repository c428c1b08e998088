//! Headers of both versions, whole, broken and made up.

use proptest::prelude::*;
use proxy_header::ProxiedAddress;

use super::*;

/// What is read of these bytes, and what is left of them.
fn read_from(mut bytes: &[u8]) -> (Result<Option<SocketAddr>, HeaderError>, &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let read = runtime.block_on(read(&mut bytes));
    (read, bytes)
}

/// The source that a header alone tells.
fn source(header: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = read_from(header);
    assert!(rest.is_empty());
    source.unwrap()
}

/// A header of version 2: the byte of version and command, that of family and protocol, and what follows.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &len, rest].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xc0, 0x01, 0, 80];

#[test]
fn both_versions_tell_the_source() {
    assert_eq!(source(b"PROXY TCP4 192.0.2.7 10.0.0.1 49153 80\r\n"), Some("192.0.2.7:49153".parse().unwrap()));
    assert_eq!(source(b"PROXY TCP6 2001:db8::7 ::1 49153 80\r\n"), Some("[2001:db8::7]:49153".parse().unwrap()));
    assert_eq!(source(&binary(0x21, 0x11, &IPV4)), Some("192.0.2.7:49153".parse().unwrap()));
    let with_more = [&IPV4[..], &[0x04, 0, 2, 0, 0]].concat();
    assert_eq!(source(&binary(0x21, 0x11, &with_more)), Some("192.0.2.7:49153".parse().unwrap()));
    let ipv6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 15], &[1], &[0xc0, 1, 0, 80]].concat();
    assert_eq!(source(&binary(0x21, 0x21, &ipv6)), Some("[2001:db8::7]:49153".parse().unwrap()));
}

#[test]
fn a_balancer_may_speak_for_itself() {
    assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
    assert_eq!(source(b"PROXY UNKNOWN ffff:f::1 ffff:f::2 65535 65535\r\n"), None);
    assert_eq!(source(&binary(0x20, 0x00, &[])), None, "LOCAL");
    assert_eq!(source(&binary(0x20, 0x11, &IPV4)), None, "LOCAL with addresses");
    assert_eq!(source(&binary(0x21, 0x00, &[])), None, "UNSPEC");
    assert_eq!(source(&binary(0x21, 0x31, &[b'/'; 216])), None, "UNIX");
}

#[test]
fn what_is_no_header_is_told_by_its_first_bytes() {
    for bytes in
        [&b"POST /sync HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", b"PROXYTCP4 1.2.3.4"]
    {
        let (read, rest) = read_from(bytes);
        assert!(matches!(read, Err(HeaderError::Absent)), "{read:?}");
        assert_eq!(rest, &bytes[12..]);
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
    assert!(matches!(read_from(long.as_bytes()).0, Err(HeaderError::TooLong)));
    let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    assert!(matches!(read_from(&long).0, Err(HeaderError::TooLong)), "before it is read");
    for text in
        ["TCP4 192.0.2.7 10.0.0.1 49153 80\n", "TCP4 ::1 ::1 1 1\r\n", "TCP4 1.2.3.4 1.2.3.4 70000 1\r\n", "UDP4 x\r\n"]
    {
        let read = read_from(format!("PROXY {text}").as_bytes()).0;
        assert!(matches!(read, Err(HeaderError::Malformed)), "{text}: {read:?}");
    }
    for header in
        [binary(0x31, 0x11, &IPV4), binary(0x21, 0x12, &IPV4), binary(0x21, 0x11, &IPV4[..11]), binary(0x22, 0, &[])]
    {
        let read = read_from(&header).0;
        assert!(matches!(read, Err(HeaderError::Malformed)), "{header:?}: {read:?}");
    }
    for end in [0, 5, 12, 15, 20, 27] {
        let read = read_from(&binary(0x21, 0x11, &IPV4)[..end]).0;
        assert!(matches!(read, Err(HeaderError::Broken(_))), "{end}: {read:?}");
    }
}

proptest! {
    #[test]
    fn nothing_but_the_header_is_read(
        source: SocketAddr, is_binary: bool, rest in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        // Scope and flow label do not travel.
        let source = SocketAddr::new(source.ip(), source.port());
        let header = ProxyHeader::with_address(ProxiedAddress::stream(source, source));
        let mut buffer = [0; 256];
        let len = if is_binary { header.encode_to_slice_v2(&mut buffer) } else { header.encode_to_slice_v1(&mut buffer) };
        let bytes = [&buffer[..len.unwrap()], &rest].concat();
        let (read, left) = read_from(&bytes);
        prop_assert_eq!(read.unwrap(), Some(source));
        prop_assert_eq!(left, &rest);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        begin in prop_oneof![Just(&b""[..]), Just(TEXT), Just(&b"PROXY TCP4 "[..]), Just(SIGNATURE), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..])],
        more in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [begin, &more].concat();
        let (read, left) = read_from(&bytes);
        let taken = bytes.len() - left.len();
        prop_assert!(taken <= BINARY_HEAD + usize::from(MAX_BINARY));
        if read.is_ok() {
            // The same, whatever follows.
            prop_assert_eq!(read_from(&bytes[..taken]).0.unwrap(), read.unwrap());
        }
    }
}
