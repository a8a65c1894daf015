//! Trades whose terms stand in the environment, which a test of the whole gateway has no hand in.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::keeper::Means;
use super::trade::{NoToken, Trader};
use crate::config::{ContainerWord, Secret, TokenRecipe, Trade};
use crate::upstream::install_crypto;
use crate::upstream::vanished::provider;

/// Answers one request with this body, and tells what was asked.
async fn once(status: &'static str, body: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut asked = String::new();
        loop {
            let mut piece = [0; 4_096];
            let length = peer.read(&mut piece).await.unwrap();
            asked.push_str(std::str::from_utf8(&piece[..length]).unwrap());
            let (head, so_far) = asked.split_once("\r\n\r\n").unwrap_or((&asked, ""));
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            if asked.contains("\r\n\r\n") && so_far.len() >= length {
                break;
            }
        }
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        peer.write_all(answer.as_bytes()).await.unwrap();
        asked
    });
    (address, asked)
}

async fn traded(
    trade: Trade,
    status: &'static str,
    body: &'static str,
) -> (Result<Means, NoToken>, String) {
    install_crypto();
    let (address, asked) = once(status, body).await;
    let recipe = Arc::new(TokenRecipe {
        trade,
        url: format!("http://{address}/place"),
        proxy: None,
    });
    let trader = Trader::new(&provider("https://a.example/v1".to_owned()), &recipe).unwrap();
    let fetched = trader.fetch().await.map(|fetched| fetched.means);
    (fetched, asked.await.unwrap())
}

/// A projected token, as others may read it.
fn projected(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

const KEYS: &str = r#"{"AccessKeyId":"ASIA","SecretAccessKey":"s","Token":"tok","Expiration":"2999-01-01T00:00:00Z"}"#;
const ROLE: &str = "<A><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>tok</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></A>";

#[tokio::test]
async fn d1_a_pod_s_word_is_traded_for_a_role_at_aws() {
    let (_folder, file) = projected("the.word\n");
    let trade = Trade::AwsRole {
        role: "arn:aws:iam::1:role/r".to_owned(),
        session: "s-1".to_owned(),
        file: file.clone(),
    };
    let (means, asked) = traded(trade.clone(), "200 OK", ROLE).await;
    assert!(
        matches!(means, Ok(Means::Aws(keys)) if keys.access_key_id() == "ASIA" && keys.session_token() == Some("tok"))
    );
    assert!(asked.starts_with("POST /place HTTP/1.1\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\nAction=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=s-1&WebIdentityToken=the.word"), "{asked}");
    for (status, expected) in [
        ("400 Bad Request", NoToken::Refused),
        ("403 Forbidden", NoToken::Refused),
        ("429 Too Many Requests", NoToken::Unavailable),
        ("503 Unavailable", NoToken::Unavailable),
        // To somewhere else a key is not carried.
        ("302 Found", NoToken::Unavailable),
        ("200 OK", NoToken::Malformed),
    ] {
        let (means, _) = traded(trade.clone(), status, "<A/>").await;
        assert_eq!(means.err(), Some(expected), "{status}");
    }
    // The file is read anew each time.
    std::fs::write(&file, "another").unwrap();
    let (_, asked) = traded(trade, "200 OK", ROLE).await;
    assert!(asked.ends_with("WebIdentityToken=another"), "{asked}");
}

#[tokio::test]
async fn d1_a_task_s_endpoint_at_aws_hears_the_word_it_gave() {
    let (_folder, file) = projected("from-file");
    for (word, expected) in [
        (ContainerWord::None, None),
        (
            ContainerWord::Word(Secret::new("said".to_owned())),
            Some("authorization: said"),
        ),
        (ContainerWord::File(file), Some("authorization: from-file")),
    ] {
        let (means, asked) = traded(Trade::AwsContainer { word }, "200 OK", KEYS).await;
        assert!(matches!(means, Ok(Means::Aws(keys)) if keys.secret_access_key() == "s"));
        assert!(asked.starts_with("GET /place HTTP/1.1\r\n"), "{asked}");
        let told = asked.lines().find(|line| line.starts_with("authorization"));
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn d1_a_federated_word_proves_a_client_at_entra() {
    let (_folder, file) = projected("the.word");
    let trade = Trade::EntraFederated {
        client: "c-1".to_owned(),
        file,
    };
    let (means, asked) = traded(
        trade,
        "200 OK",
        r#"{"access_token":"t0k","expires_in":86399}"#,
    )
    .await;
    assert!(matches!(means, Ok(Means::Bearer(value)) if value == "Bearer t0k"));
    assert!(asked.ends_with("client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=the.word"), "{asked}");
    let gone = Trade::EntraFederated {
        client: "c-1".to_owned(),
        file: "/nowhere".into(),
    };
    let recipe = Arc::new(TokenRecipe {
        trade: gone,
        url: "http://127.0.0.1:9/".to_owned(),
        proxy: None,
    });
    let trader = Trader::new(&provider("https://a.example/v1".to_owned()), &recipe).unwrap();
    assert_eq!(trader.fetch().await.err(), Some(NoToken::Unreadable));
}
