//! TLS against real servers: whom it believes, as whom it appears, and a whole cluster.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use spoa_gcra::store::valkey::{Config, StoreError, Tls, ValkeyStore};
use spop_client::Client as Haproxy;
use spop_client::spop_codec::TypedData;
use spop_testkit::agent;
use spop_testkit::port;
use spop_testkit::valkey::Server;
use tempfile::TempDir;

use super::{PATIENCE, allowed, ask, client, config, form, ready, set_user, slow, store};

/// Signs certificates, and keeps them in files as an operator does.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    /// A file's path. There is `ca.pem`.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pem(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Signs a certificate for `host` and writes it to `HOST.pem`, with `HOST-key.pem`.
    fn sign(&self, host: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{host}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{host}-key.pem")), key.serialize_pem()).unwrap();
    }

    /// What makes a server speak TLS on `port`, as `host`.
    fn options(&self, port: u16, host: &str, ask_clients: &str) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path(&format!("{host}.pem"))),
            ("--tls-key-file", path(&format!("{host}-key.pem"))),
            ("--tls-ca-cert-file", path("ca.pem")),
            ("--tls-auth-clients", ask_clients.to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

/// A server that also speaks TLS, on the port that is returned.
async fn server(
    authority: &Authority,
    host: &str,
    ask_clients: &str,
    further: &[&str],
) -> (Server, u16) {
    let port = port::free().unwrap();
    let options = authority.options(port, host, ask_clients);
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(further);
    let server = Server::start_with(&options).await.unwrap();
    (server, port)
}

fn tls_store(ports: &[u16], tls: &Tls) -> ValkeyStore {
    let node = |port| format!("valkeys://127.0.0.1:{port}").parse().unwrap();
    let nodes = ports.iter().map(|port| tls.apply(node(port)).unwrap());
    ValkeyStore::connect(nodes.collect(), config()).unwrap()
}

/// None of them gets at the server, while one that may does so again and again.
async fn none_but(entitled: &ValkeyStore, others: &[ValkeyStore]) {
    for n in 0..20 {
        ready(entitled, client(n)).await;
        for other in others {
            let error = ask(other, client(n), slow(1), 1).await.unwrap_err();
            assert_eq!(error, StoreError::NoTopology);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_that_the_authority_vouches_for_is_used() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    ours.sign("127.0.0.1");
    ours.sign("valkey.example");
    let (right, right_port) = server(&ours, "127.0.0.1", "no", &[]).await;
    let (_misnamed, misnamed_port) = server(&ours, "valkey.example", "no", &[]).await;

    let tls = Tls::new(Some(ours.pem("ca.pem")), None).unwrap();
    let trusting = tls_store(&[right_port], &tls);
    ready(&trusting, client(1)).await;
    for expected in [true, false] {
        assert_eq!(allowed(&trusting, client(1), slow(1), 1).await, expected);
    }
    assert_eq!(right.cli(&["dbsize"]).await.unwrap(), "1");

    let other = Tls::new(Some(others.pem("ca.pem")), None).unwrap();
    let refused = [
        tls_store(&[right_port], &other),
        tls_store(&[misnamed_port], &tls),
        // Only public authorities.
        store(&format!("valkeys://127.0.0.1:{right_port}"), config()),
        // In the clear.
        store(&format!("valkey://127.0.0.1:{right_port}"), config()),
    ];
    none_but(&trusting, &refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_certificate_gets_one() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    for host in ["127.0.0.1", "agent"] {
        ours.sign(host);
        others.sign(host);
    }
    let (_server, port) = server(&ours, "127.0.0.1", "yes", &[]).await;
    let authorities = || Some(ours.pem("ca.pem"));
    let identity = |of: &Authority| Some((of.pem("agent.pem"), of.pem("agent-key.pem")));

    let known = Tls::new(authorities(), identity(&ours)).unwrap();
    let known = tls_store(&[port], &known);
    let nobody = Tls::new(authorities(), None).unwrap();
    let stranger = Tls::new(authorities(), identity(&others)).unwrap();
    let refused = [nobody, stranger].map(|tls| tls_store(&[port], &tls));
    none_but(&known, &refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_spoken_to_by_tls_only() {
    let ours = Authority::new("ours");
    ours.sign("127.0.0.1");
    let mut nodes = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..3 {
        let bus = port::free().unwrap().to_string();
        let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        let (node, port) = server(&ours, "127.0.0.1", "no", &cluster).await;
        nodes.push((node, bus));
        ports.push(port);
    }
    form(&nodes, "127.0.0.1").await;

    let tls = Tls::new(Some(ours.pem("ca.pem")), None).unwrap();
    let store = tls_store(&ports[..1], &tls);
    for n in 0..60 {
        ready(&store, client(n)).await;
        for expected in [true, false] {
            assert_eq!(allowed(&store, client(n), slow(1), 1).await, expected);
        }
    }
    for ((node, _), port) in nodes.iter().zip(ports) {
        let clients = node.cli(&["client", "list"]).await.unwrap();
        let mut ours = clients
            .lines()
            .filter(|line| line.contains("lib-name=redis-rs"));
        let tls = format!(" laddr=127.0.0.1:{port} ");
        assert!(ours.clone().count() > 0, "{clients}");
        assert!(ours.all(|line| line.contains(&tls)), "{clients}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_takes_certificates_and_credentials_from_its_variables() {
    let ours = Authority::new("ours");
    ours.sign("127.0.0.1");
    ours.sign("agent");
    fs::write(ours.path("password"), "secret\n").unwrap();
    let (server, port) = server(&ours, "127.0.0.1", "yes", &[]).await;
    set_user(&server, "on >secret ~gcra:* +@all").await;
    // Who does not log in has no rights.
    let off = server
        .cli(&["acl", "setuser", "default", "nocommands", "+acl"])
        .await;
    assert_eq!(off.unwrap(), "OK");
    let path = |name: &str| ours.path(name).display().to_string();
    let budget = Config::default().budget;
    let agent = agent::Setup::new(env!("CARGO_BIN_EXE_spoa-gcra"))
        .set("VALKEY_NODES", format!("valkeys://127.0.0.1:{port}"))
        .set("VALKEY_USERNAME", "agent")
        .set("VALKEY_PASSWORD_FILE", path("password"))
        .set("VALKEY_CA_FILE", path("ca.pem"))
        .set("VALKEY_CERT_FILE", path("agent.pem"))
        .set("VALKEY_KEY_FILE", path("agent-key.pem"))
        .set("SPOA_DECISION_BUDGET", budget.as_millis())
        .start()
        .await
        .unwrap();
    let mut haproxy = Haproxy::connect(agent.addr()).await.unwrap();
    let since = std::time::Instant::now();
    loop {
        let ip = TypedData::Ipv4([192, 0, 2, 7].into());
        let ack = haproxy
            .notify("check-rate", [("ip_src", ip)])
            .await
            .unwrap();
        if format!("{ack:?}").contains("valkey") {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{:#?}", agent.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let said = agent.log().join("\n");
    assert!(!said.contains("secret"), "{said}");
}
