//! Arguments as types: what reads into what, what the errors say, and what is borrowed.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    dead_code,
    reason = "most types are only read into, and shown by Debug"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::ops::Range;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use spop_server::{
    Actions, ArgId, ArgsError, Failure, IntoActions, Request, Scope, Text, TypedData,
    deserialize_text,
};

type Args<'a> = &'a [(&'a str, TypedData<'a>)];

const NULL: TypedData<'_> = TypedData::Null;
const V4: TypedData<'_> = TypedData::Ipv4(Ipv4Addr::new(192, 0, 2, 7));
const V6: TypedData<'_> = TypedData::Ipv6(Ipv6Addr::LOCALHOST);
const NOT_UTF8: TypedData<'_> = TypedData::String(Text::new(b"secret\xff"));

fn request(args: Args<'_>) -> Request {
    Request::local("check", args.iter().copied()).unwrap()
}

fn int(value: i64) -> TypedData<'static> {
    TypedData::Int64(value)
}

fn text(text: &str) -> TypedData<'_> {
    TypedData::from(text)
}

fn bytes(bytes: &[u8]) -> TypedData<'_> {
    TypedData::Binary(bytes)
}

/// The value or the error, as text.
fn shown<T: Debug>(result: Result<T, ArgsError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    }
}

/// Checks what arguments read into. In an error, `@` stands for what it is about.
macro_rules! check {
    (about $subject:literal: $($type:ty: $args:expr => $expected:literal;)*) => {$({
        let args: Args<'_> = &$args;
        let found = shown(request(args).args_as::<$type>());
        let expected = $expected.replace('@', $subject);
        assert_eq!(found, expected, "{} from {args:?}", stringify!($type));
    })*};
}

/// Checks what the value of one argument reads into.
macro_rules! check_value {
    ($($type:ty: $value:expr => $expected:literal;)*) => {$({
        let value: TypedData<'_> = $value;
        let request = request(&[("a", value)]);
        let found = shown(request.args_as::<Only<$type>>().map(|only| only.a));
        let expected = $expected.replace('@', r#"argument "a" of message "check""#);
        assert_eq!(found, expected, "{} from {value:?}", stringify!($type));
    })*};
}

#[derive(Debug, Deserialize)]
struct Only<T> {
    a: T,
}

#[test]
fn scalars() {
    check_value! {
        bool: true.into() => "true";
        bool: int(1) => "@: expected a boolean, found INT64";
        bool: NULL => "@: expected a value, found NULL";
        u16: int(443) => "443";
        u16: int(-1) => "@: expected u16, found INT64 out of its range";
        u16: int(65_536) => "@: expected u16, found INT64 out of its range";
        u16: text("443") => "@: expected u16, found STRING";
        u16: V4 => "@: expected u16, found IPV4";
        i64: TypedData::Uint64(u64::MAX) => "@: expected i64, found UINT64 out of its range";
        u64: TypedData::Uint64(u64::MAX) => "18446744073709551615";
        i128: TypedData::Int32(-2) => "-2";
        NonZeroU8: TypedData::Uint32(7) => "7";
        NonZeroU8: TypedData::Uint32(0) => "@: expected a nonzero u8, found UINT32 out of its range";
        f64: int(1) => "@: expected f64, found INT64";
        f32: text("1.5") => "@: expected f32, found STRING";
        (): true.into() => "@: expected unit, found BOOL";
    }
}

#[test]
fn addresses() {
    check_value! {
        IpAddr: V4 => "192.0.2.7";
        IpAddr: V6 => "::1";
        IpAddr: text("2001:db8::1") => "2001:db8::1";
        IpAddr: bytes(b"192.0.2.7") => "192.0.2.7";
        IpAddr: text("secret") => "@: expected IpAddr, found STRING that is none";
        IpAddr: NOT_UTF8 => "@: expected UTF-8 text, found STRING that is none";
        IpAddr: int(1) => "@: expected IP address, found INT64";
        Ipv4Addr: V4 => "192.0.2.7";
        Ipv4Addr: V6 => "@: expected IPv4 address, found IPV6";
        Ipv6Addr: V6 => "::1";
        Ipv6Addr: V4 => "@: expected IPv6 address, found IPV4";
        Client: V4 => "Client(192.0.2.7)";
        Client: text("secret") => "@: expected Client, found STRING that is none";
        Family: V4 => "V4([192, 0, 2, 7])";
        [u8; 4]: V4 => "[192, 0, 2, 7]";
        [u8; 5]: V4 => "@: expected an array of length 5, found IPV4";
        String: V6 => r#""::1""#;
        String: "::ffff:255.255.255.255".parse::<Ipv6Addr>().unwrap().into() => r#""::ffff:255.255.255.255""#;
        String: Ipv6Addr::from([255; 16]).into() => r#""ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff""#;
        &str: V4 => "@: expected a borrowed string, found IPV4";
        Vec<u8>: V4 => "@: expected a sequence, found IPV4";
    }
}

#[test]
fn text_and_bytes() {
    check_value! {
        &str: text("x") => r#""x""#;
        &str: bytes(b"x") => r#""x""#;
        &str: NOT_UTF8 => "@: expected UTF-8 text, found STRING that is none";
        &str: bytes(&[0xff]) => "@: expected UTF-8 text, found BINARY that is none";
        &str: int(1) => "@: expected a borrowed string, found INT64";
        String: text("x") => r#""x""#;
        String: int(1) => "@: expected a string, found INT64";
        char: text("ß") => "'ß'";
        char: text("secret") => "@: expected a character, found STRING that is none";
        &[u8]: text("x") => "[120]";
        &[u8]: bytes(&[0xff]) => "[255]";
        &[u8]: NOT_UTF8 => "[115, 101, 99, 114, 101, 116, 255]";
        &[u8]: int(1) => "@: expected a borrowed byte array, found INT64";
        Vec<u8>: bytes(&[1, 2]) => "[1, 2]";
        Vec<u8>: text("x") => "[120]";
        Vec<u8>: true.into() => "@: expected a sequence, found BOOL";
        [u8; 2]: bytes(&[1, 2]) => "[1, 2]";
        [u8; 2]: bytes(&[1, 2, 3]) => "@: expected an array of length 2, found BINARY that is none";
        Rgb: bytes(&[1, 2, 3]) => "Rgb(1, 2, 3)";
        Rgb: int(1) => "@: expected tuple struct Rgb, found INT64";
        Method: text("GET") => "Get";
        Method: text("secret") => r#"@: expected one of "GET", "POST", found STRING that is none"#;
        Method: NOT_UTF8 => "@: expected UTF-8 text, found STRING that is none";
        Method: int(0) => "@: expected enum Method, found INT64";
        Method: V4 => "@: expected enum Method, found IPV4";
        Wrapped: text("Text") => "@: expected newtype variant, found STRING";
        BTreeMap<String, u8>: text("x") => "@: expected a map, found STRING";
    }
}

#[derive(Debug, Deserialize)]
struct Client(IpAddr);

#[derive(Debug, Deserialize)]
enum Family {
    V4([u8; 4]),
    V6([u8; 16]),
}

#[derive(Debug, Deserialize)]
struct Rgb(u8, u8, u8);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Get,
    Post,
}

#[derive(Debug, Deserialize)]
enum Wrapped {
    Text(String),
}

#[test]
fn nothing_and_null() {
    check_value! {
        Option<u16>: NULL => "None";
        Option<u16>: int(7) => "Some(7)";
        Option<u16>: int(-7) => "@: expected u16, found INT64 out of its range";
        Option<IpAddr>: V4 => "Some(192.0.2.7)";
        Option<IpAddr>: text("secret") => "@: expected Option<IpAddr>, found STRING that is none";
        Option<Method>: text("GET") => "Some(Get)";
        Option<&str>: text("x") => r#"Some("x")"#;
    }
    check! { about r#"message "check""#:
        Only<Option<u16>>: [] => "Only { a: None }";
        Only<u16>: [] => r#"@ came without argument "a""#;
        Only<u16>: [("b", int(1))] => r#"@ came without argument "a""#;
        Defaults: [] => "Defaults { port: 0, method: Get }";
        Defaults: [("port", NULL), ("method", NULL)] => "Defaults { port: 0, method: Get }";
        Defaults: [("port", int(1))] => "Defaults { port: 1, method: Get }";
    }
}

#[derive(Debug, Deserialize)]
struct Defaults {
    #[serde(default)]
    port: u16,
    #[serde(default = "get")]
    method: Method,
}

fn get() -> Method {
    Method::Get
}

#[test]
fn names() {
    check! { about r#"argument "b" of message "check""#:
        Only<u8>: [("b", int(2)), ("a", int(1)), ("", int(3))] => "Only { a: 1 }";
        // The first of a name counts, even if it is NULL, as it does for `Request::arg`.
        Only<u8>: [("a", int(1)), ("a", int(2)), ("a", text("x"))] => "Only { a: 1 }";
        Only<Option<u8>>: [("a", NULL), ("a", int(2))] => "Only { a: None }";
        Strict: [("a", int(1))] => "Strict { a: 1 }";
        Strict: [("a", int(1)), ("b", NULL)] => "@ is unknown here";
        Strict: [("a", int(1)), ("", NULL)] =>
            r#"argument at position 1 of message "check" is unknown here"#;
        Alias: [("b", int(1))] => "Alias { a: 1 }";
        Alias: [("b", int(1)), ("b", int(2))] => "Alias { a: 1 }";
        Alias: [("a", int(1)), ("b", int(2))] =>
            r#"argument "a" of message "check" came twice"#;
        Unnamed: [("a", int(1)), ("", int(2))] => "Unnamed { first: 2 }";
        Unnamed: [("a", int(1)), ("", V4)] =>
            r#"argument at position 1 of message "check": expected u8, found IPV4"#;
        Outer: [("a", int(1)), ("b", V4)] => "Outer { a: 1, inner: Inner { b: 192.0.2.7, c: None } }";
        // What serde keeps aside for `flatten` has lost its name.
        Outer: [("a", int(1)), ("b", int(-2))] =>
            r#"message "check": expected IP address, found an integer"#;
        Outer: [("a", int(1)), ("a", int(1))] =>
            r#"argument "a" of message "check" came twice"#;
        Checked: [("b", int(4))] => "Checked { b: 4 }";
        Checked: [("b", int(5))] => "@: expected a valid value, found INT64 that is none";
        BTreeMap<&str, u8>: [("a", int(1)), ("b", NULL), ("c", int(3))] => r#"{"a": 1, "c": 3}"#;
        BTreeMap<&str, u8>: [("a", int(1)), ("b", V6)] => "@: expected u8, found IPV6";
        Tagged: [("b", int(1)), ("kind", text("Ip"))] => "Ip { b: 1 }";
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    a: u8,
}

#[derive(Debug, Deserialize)]
struct Alias {
    #[serde(alias = "b")]
    a: u8,
}

#[derive(Debug, Deserialize)]
struct Unnamed {
    #[serde(rename = "")]
    first: u8,
}

#[derive(Debug, Deserialize)]
struct Outer {
    a: u8,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Debug, Deserialize)]
struct Inner {
    b: IpAddr,
    c: Option<u8>,
}

#[derive(Debug, Deserialize)]
struct Checked {
    #[serde(deserialize_with = "even")]
    b: u8,
}

fn even<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let value = u8::deserialize(deserializer)?;
    match value % 2 {
        0 => Ok(value),
        _ => Err(serde::de::Error::custom(format!("{value} is odd"))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Ip { b: u8 },
}

#[test]
fn positions() {
    check! { about r#"argument at position 1 of message "check""#:
        (IpAddr, &str): [("", V4), ("", text("x"))] => r#"(192.0.2.7, "x")"#;
        (IpAddr, &str): [("named", V4), ("", text("x")), ("", NULL)] => r#"(192.0.2.7, "x")"#;
        (IpAddr, &str): [("", V4), ("", int(1))] => "@: expected a borrowed string, found INT64";
        (IpAddr, &str): [("", V4), ("", NULL)] => "@: expected a borrowed string, found NULL";
        (IpAddr, &str): [("", V4)] => r#"message "check" came without argument at position 1"#;
        (IpAddr, Option<&str>): [("", V4)] => "(192.0.2.7, None)";
        (IpAddr, Option<&str>): [("", V4), ("", NULL)] => "(192.0.2.7, None)";
        Rgb: [("", int(1)), ("", int(2)), ("", int(3))] => "Rgb(1, 2, 3)";
        Vec<u8>: [] => "[]";
        Vec<u8>: [("", int(1)), ("", int(2))] => "[1, 2]";
        Vec<u8>: [("", int(1)), ("", int(-1))] => "@: expected u8, found INT64 out of its range";
        Vec<Option<u8>>: [("", int(1)), ("", NULL)] => "[Some(1), None]";
    }
    let request = request(&[("a", int(1)), ("", int(2))]);
    assert_eq!(request.arg_at(0), int(1));
    assert_eq!(request.arg_at(1), int(2));
    assert_eq!(request.arg_at(2), NULL);
}

#[test]
fn types_that_are_no_arguments() {
    check! { about r#"message "check""#:
        u64: [("a", int(1))] => "@: expected u64, found arguments";
        &str: [] => "@: expected a borrowed string, found arguments";
        Method: [("a", text("GET"))] => "@: expected enum Method, found arguments";
        (): [("a", int(1))] => "()";
    }
}

#[test]
fn an_error_can_be_matched_and_quotes_no_value() {
    let request = Request::local("check\n", [("port", text("secret"))]).unwrap();
    #[derive(Debug, Deserialize)]
    struct Port {
        port: u16,
    }
    let error = request.args_as::<Port>().unwrap_err();
    assert_eq!(
        error,
        ArgsError::WrongType {
            message: r"check\n".into(),
            argument: Some(ArgId::Name("port".into())),
            expected: "u16".into(),
            found: "STRING",
        }
    );
    assert_eq!(
        error.to_string(),
        r#"argument "port" of message "check\n": expected u16, found STRING"#
    );
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn what_is_borrowed_is_the_requests_own_memory() {
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        path: &'a str,
        body: &'a [u8],
        #[serde(borrow)]
        agent: Cow<'a, str>,
        #[serde(borrow, deserialize_with = "deserialize_text")]
        host: Text<'a>,
        #[serde(borrow, default, deserialize_with = "deserialize_text")]
        referer: Option<Text<'a>>,
        #[serde(borrow, default, deserialize_with = "deserialize_text")]
        absent: Option<Text<'a>>,
    }
    let request = request(&[
        ("path", text("/index.html")),
        ("body", bytes(b"\xff\x00")),
        ("agent", text("curl")),
        ("host", TypedData::String(Text::new(b"\xffhost"))),
        ("referer", text("/")),
    ]);
    let args: Borrowed<'_> = request.args_as().unwrap();
    assert!(args.absent.is_none());
    let read = [
        ("path", args.path.as_bytes()),
        ("body", args.body),
        ("agent", args.agent.as_bytes()),
        ("host", args.host.as_bytes()),
        ("referer", args.referer.unwrap().as_bytes()),
    ];
    let message = memory(&request);
    for (name, read) in read {
        let sent = request.arg(name).to_bytes().unwrap();
        assert_eq!(read.as_ptr_range(), sent.as_ptr_range(), "{name}");
        assert!(message.start <= read.as_ptr_range().start, "{name}");
        assert!(read.as_ptr_range().end <= message.end, "{name}");
    }
}

/// Where the request's message lies, from its name to its last value.
fn memory(request: &Request) -> Range<*const u8> {
    let last = request.args().last().unwrap();
    let end = last.value.to_bytes().unwrap().as_ptr_range().end;
    request.name().as_bytes().as_ptr()..end
}

#[derive(Debug, Deserialize)]
struct CheckIp<'a> {
    ip: IpAddr,
    user: Option<&'a str>,
}

async fn check_ip(request: Request) -> Result<Actions, ArgsError> {
    let args: CheckIp<'_> = request.args_as()?;
    // Borrowed across an await.
    tokio::task::yield_now().await;
    let score = i32::from(!args.ip.is_loopback() && args.user.is_none());
    Ok(Actions::new().set_var(Scope::Session, "score", score))
}

#[tokio::test]
async fn in_a_handler() {
    // Its future may run in any task.
    fn spawned<F: Future<Output: Send> + Send + 'static>(
        future: F,
    ) -> tokio::task::JoinHandle<F::Output> {
        tokio::spawn(future)
    }
    let answer = spawned(check_ip(request(&[("ip", V4)]))).await.unwrap();
    let scored = Actions::new().set_var(Scope::Session, "score", 1_i32);
    assert_eq!(answer.unwrap(), scored);
    let answer = spawned(check_ip(request(&[]))).await.unwrap();
    let error = answer.into_actions().unwrap_err();
    assert_eq!(error.failure(), Failure::Rejected);
}

/// A value that owns what it holds, for proptest.
#[derive(Debug, Clone)]
enum Value {
    Plain(TypedData<'static>),
    String(Vec<u8>),
    Binary(Vec<u8>),
}

impl Value {
    fn view(&self) -> TypedData<'_> {
        match self {
            Self::Plain(data) => *data,
            Self::String(bytes) => TypedData::String(Text::new(bytes)),
            Self::Binary(bytes) => TypedData::Binary(bytes),
        }
    }
}

fn integer() -> impl Strategy<Value = TypedData<'static>> {
    prop_oneof![
        any::<i32>().prop_map(TypedData::Int32),
        any::<u32>().prop_map(TypedData::Uint32),
        any::<i64>().prop_map(TypedData::Int64),
        any::<u64>().prop_map(TypedData::Uint64),
        near_boundaries(),
    ]
}

/// Each wire kind, at and around each limit of each integer type.
fn near_boundaries() -> impl Strategy<Value = TypedData<'static>> {
    let near = (0_u32..=64, -2_i128..=2, any::<bool>()).prop_map(|(bits, off, negative)| {
        let limit = 1_i128 << bits;
        off + if negative { -limit } else { limit }
    });
    (near, 0_u8..4).prop_filter_map("beyond the wire kind", |(value, kind)| {
        Some(match kind {
            0 => TypedData::Int32(value.try_into().ok()?),
            1 => TypedData::Uint32(value.try_into().ok()?),
            2 => TypedData::Int64(value.try_into().ok()?),
            _ => TypedData::Uint64(value.try_into().ok()?),
        })
    })
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let word = || prop_oneof!["GET", "V4", "Text", "::1", "192.0.2.7", ".{0,8}"];
    prop_oneof![
        Just(Value::Plain(NULL)),
        any::<bool>().prop_map(|v| Value::Plain(v.into())),
        integer().prop_map(Value::Plain),
        any::<[u8; 4]>().prop_map(|v| Value::Plain(TypedData::Ipv4(v.into()))),
        any::<[u8; 16]>().prop_map(|v| Value::Plain(TypedData::Ipv6(v.into()))),
        word().prop_map(|word| Value::String(word.into_bytes())),
        bytes().prop_map(Value::String),
        bytes().prop_map(Value::Binary),
    ]
}

fn exact(value: TypedData<'_>) -> i128 {
    value
        .to_i64()
        .map(i128::from)
        .or_else(|| value.to_u64().map(i128::from))
        .unwrap()
}

/// `value` as a `T`: the same number, or out of range if no `T` is.
fn check_integer<T>(value: TypedData<'static>) -> Result<(), TestCaseError>
where
    T: DeserializeOwned + Debug + Copy + TryFrom<i128> + Into<i128>,
{
    let read: Result<Only<T>, _> = request(&[("a", value)]).args_as();
    match (T::try_from(exact(value)), read) {
        (Ok(_), Ok(read)) => prop_assert_eq!(read.a.into(), exact(value)),
        (Err(_), Err(ArgsError::OutOfRange { .. })) => {}
        (_, read) => prop_assert!(false, "{value:?} is read as {read:?}"),
    }
    Ok(())
}

/// Whatever comes, reading ends in a value or in one line; and no type panics.
fn check_any<'a, T: Deserialize<'a>>(request: &'a Request) {
    if let Err(error) = request.args_as::<T>() {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

proptest! {
    #[test]
    fn integers_are_exact(value in integer()) {
        check_integer::<i8>(value)?;
        check_integer::<i16>(value)?;
        check_integer::<i32>(value)?;
        check_integer::<i64>(value)?;
        check_integer::<i128>(value)?;
        check_integer::<u8>(value)?;
        check_integer::<u16>(value)?;
        check_integer::<u32>(value)?;
        check_integer::<u64>(value)?;
    }

    #[test]
    fn a_field_is_the_first_argument_of_its_name(
        args in proptest::collection::vec((prop_oneof!["a", "b", "", ".{0,3}"], value()), 0..12),
    ) {
        let args: Vec<_> = args.iter().map(|(name, value)| (name.as_str(), value.view())).collect();
        let request = request(&args);
        let expected = match request.arg("a") {
            TypedData::Null => Ok(None),
            TypedData::Ipv4(_) | TypedData::Ipv6(_) | TypedData::Bool(_) => Err(()),
            value => match (value.to_bytes(), value.to_u64()) {
                (Some(_), _) => Err(()),
                (None, Some(value)) => Ok(Some(value)),
                (None, None) => Err(()),
            },
        };
        let read = request.args_as::<Only<Option<u64>>>();
        prop_assert_eq!(read.map(|only| only.a).map_err(|_| ()), expected);
    }

    #[test]
    fn no_arguments_and_no_type_panic(
        args in proptest::collection::vec((prop_oneof!["a", "b", "", ".{0,3}"], value()), 0..12),
    ) {
        let args: Vec<_> = args.iter().map(|(name, value)| (name.as_str(), value.view())).collect();
        let request = request(&args);
        check_any::<Only<&str>>(&request);
        check_any::<Only<String>>(&request);
        check_any::<Only<&[u8]>>(&request);
        check_any::<Only<Vec<u8>>>(&request);
        check_any::<Only<IpAddr>>(&request);
        check_any::<Only<Ipv4Addr>>(&request);
        check_any::<Only<Ipv6Addr>>(&request);
        check_any::<Only<Method>>(&request);
        check_any::<Only<Family>>(&request);
        check_any::<Only<Wrapped>>(&request);
        check_any::<Only<Rgb>>(&request);
        check_any::<Only<f64>>(&request);
        check_any::<Only<char>>(&request);
        check_any::<Outer>(&request);
        check_any::<Strict>(&request);
        check_any::<Checked>(&request);
        check_any::<Tagged>(&request);
        check_any::<BTreeMap<String, Option<String>>>(&request);
        check_any::<(IpAddr, Option<&str>, u8)>(&request);
        check_any::<Vec<Option<IpAddr>>>(&request);
        check_any::<Vec<()>>(&request);
        check_any::<u64>(&request);
    }
}
