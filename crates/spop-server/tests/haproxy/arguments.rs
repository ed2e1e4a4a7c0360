//! What HAProxy sends arrives as it was meant, and what is answered arrives in HAProxy:
//! several messages, events and groups, arguments of each kind.

use spop_server::{Actions, Config, Request, Router, Scope, TypedData};
use spop_testkit::http::Client;
use spop_testkit::web::Web;

use crate::agent::Agent;
use crate::site::{Plan, ask, spoe_errors, versions};

const ENGINE: &str = "
[e]
spoe-agent e
    log global
    option dontlog-normal
    messages session kinds unnamed twice never response
    groups later
    option var-prefix e
    option set-on-error error
    timeout hello 5s
    timeout idle 30s
    timeout processing 5s
    use-backend spoe-agents

spoe-message session
    args port=dst_port
    event on-client-session
spoe-message kinds
    args yes=bool(true) no=bool(false) number=int(-5) v4=ipv4(192.0.2.1) v6=ipv6(2001:db8::1) text=str(hello) bytes=bin(00ff7f) method=method nothing=req.hdr(missing)
    event on-frontend-http-request
spoe-message unnamed
    args path named=int(240) int(2288) req.hdr(missing)
    event on-frontend-http-request
spoe-message twice
    args a=str(one) a=str(two)
    event on-frontend-http-request if { path /both }
spoe-message never
    event on-frontend-http-request if { path /not-this }
spoe-message response
    args status=status session=var(sess.e.session)
    event on-http-response
spoe-message grouped
    args before=var(txn.before) kinds=var(txn.e.kinds),length
spoe-group later
    messages grouped
";

const RULES: &str = "http-request set-var(txn.before) str(rule)
    http-request send-spoe-group e later if { path /both }
    http-after-response set-header session %[var(sess.e.session)]
    http-after-response set-header kinds %[var(txn.e.kinds)]
    http-after-response set-header unnamed %[var(txn.e.unnamed)]
    http-after-response set-header twice %[var(txn.e.twice)]
    http-after-response set-header never %[var(txn.e.never)]
    http-after-response set-header grouped %[var(txn.e.grouped)]
    http-after-response set-header response %[var(txn.e.response)]
    http-after-response set-header gone %[var(txn.e.gone)]
    http-after-response set-header error %[var(txn.e.error)]";

#[tokio::test(flavor = "multi_thread")]
async fn messages_events_and_groups_arrive_with_all_arguments() {
    let web = Web::start().await.unwrap();
    for haproxy in versions() {
        let agent = Agent::start(Router::new().fallback(tell), Config::new());
        let plan = Plan {
            engine: ENGINE.to_owned(),
            rules: RULES,
            web: Some(web.addr()),
            ..Plan::new([agent.addr()])
        };
        let server = plan.start(&haproxy).await;
        let client = Client::new();

        let port = server.url().rsplit(':').next().unwrap().to_owned();
        let port = port.trim_end_matches('/');
        let kinds = "yes=bool:true no=bool:false number=int:-5 v4=ip:192.0.2.1 \
            v6=ip:2001:db8::1 text=text:hello bytes=bytes:00ff7f method=text:GET nothing=null";
        let session = format!("port=int:{port}");
        let expect = [
            ("session", session.clone()),
            ("kinds", kinds.to_owned()),
            (
                "unnamed",
                "=text:/both named=int:240 =int:2288 =null".to_owned(),
            ),
            ("twice", "a=text:one a=text:two".to_owned()),
            ("never", String::new()),
            (
                "grouped",
                format!("before=text:rule kinds=int:{}", kinds.len()),
            ),
            ("response", format!("status=int:200 session=text:{session}")),
            ("gone", String::new()),
            ("error", String::new()),
        ];
        // The second one has no on-client-session of its own.
        for _ in 0..2 {
            let answer = ask(&client, &server, "both", "").await;
            assert_eq!(answer.status, 200);
            for (name, value) in &expect {
                let said = answer.header(name);
                assert_eq!(said, Some(value.as_str()), "{} {name}", haproxy.version());
            }
        }
        // Messages whose condition does not hold, and a group that is not asked.
        let answer = ask(&client, &server, "one", "").await;
        for name in ["twice", "never", "grouped", "error"] {
            assert_eq!(
                answer.header(name),
                Some(""),
                "{} {name}",
                haproxy.version()
            );
        }
        let log = server.log();
        assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
        assert_eq!(agent.warnings(), "", "{}", haproxy.version());
    }
}

/// Sets a variable of the message's name to its arguments.
async fn tell(request: Request) -> Actions {
    let told: Vec<String> = request
        .args()
        .map(|arg| format!("{}={}", arg.name, word(arg.value)))
        .collect();
    let name = request.name().to_string();
    let scope = match name.as_str() {
        "session" => Scope::Session,
        _ => Scope::Transaction,
    };
    let actions = Actions::new().set_var(scope, &name, told.join(" ").as_str());
    match name.as_str() {
        "kinds" => actions.set_var(Scope::Transaction, "gone", 1),
        "response" => actions.unset_var(Scope::Transaction, "gone"),
        _ => actions,
    }
}

fn word(value: TypedData<'_>) -> String {
    match value {
        TypedData::Null => "null".to_owned(),
        TypedData::Bool(value) => format!("bool:{value}"),
        TypedData::Int64(value) => format!("int:{value}"),
        TypedData::Ipv4(value) => format!("ip:{value}"),
        TypedData::Ipv6(value) => format!("ip:{value}"),
        TypedData::String(value) => format!("text:{value}"),
        TypedData::Binary(value) => {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("bytes:{hex}")
        }
        other => format!("{other:?}"),
    }
}
