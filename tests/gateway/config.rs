//! Section 7 of the fault catalogue: reloads are atomic, and a mistake changes nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use switchyard_chaos::front::{NameServer, Says};
use switchyard_chaos::mock::Behaviour;

use crate::frame::{Gateway, alone, mock, pair, provider, write_config};

async fn reload(gateway: &Gateway) -> (u16, serde_json::Value) {
    let answer = gateway.admin_post("/admin/reload").await;
    (answer.status(), answer.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c01_c02_a_broken_file_changes_nothing_and_says_every_mistake() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    let good = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(
        gateway.config_path(),
        good.replace(
            "targets = [\"a/m-a\"]",
            "targets = [\"nobody/x\"]\ncolour = 1",
        ),
    )
    .unwrap();
    let (status, told) = reload(&gateway).await;
    assert_eq!((status, told["result"].as_str()), (422, Some("rejected")));
    let mistakes = told["mistakes"].to_string();
    assert!(
        mistakes.contains("pools.p.targets[0]") && mistakes.contains("colour"),
        "{mistakes}"
    );
    std::fs::write(gateway.config_path(), &good[..good.len() / 2]).unwrap();
    reload(&gateway).await;
    assert_eq!(
        gateway.ask("p").await.status(),
        200,
        "the old configuration serves on"
    );
}

/// Whoever writes a file cuts it first; an empty file is a valid one in which there is nothing, and so may be its
/// beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c01_a_file_that_is_cut_takes_nothing_away() {
    let a = mock("a").await;
    let gateway = alone(&a, "").await;
    for nothing in [
        "",
        " \n",
        "# written by a machine\n",
        "\u{feff}",
        "[failover]\n",
    ] {
        std::fs::write(gateway.config_path(), nothing).unwrap();
        let (status, told) = reload(&gateway).await;
        assert_eq!((status, told["result"].as_str()), (422, Some("rejected")));
        assert!(
            told["mistakes"].to_string().contains("names none any more"),
            "{told}"
        );
        assert_eq!(gateway.ask("p").await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u2_a_changed_file_is_seen_and_applied_by_itself() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(
        gateway.config_path(),
        text + "[pools.fresh]\ntargets = [\"b/m-b\"]\n",
    )
    .unwrap();
    for _ in 0..100 {
        if gateway.ask("fresh").await.status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the new pool never appeared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c03_k07_what_is_removed_finishes_its_streams() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    a.set(Behaviour::healthy());
    a.weather(
        crate::frame::quick()
            .tokens(40)
            .gap(Duration::from_millis(10)),
    );
    let stream = gateway.stream("p");
    let change = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let config = format!("{}[pools.p]\ntargets = [\"b/m-b\"]\n", provider("b", &b));
        write_config(&gateway.folder, &config);
        let (status, told) = reload(&gateway).await;
        assert_eq!(
            (status, told["result"].as_str()),
            (200, Some("applied")),
            "{told}"
        );
        assert!(told["changes"].to_string().contains("provider a removed"));
        assert_eq!(
            gateway.ask("p").await.header("x-switchyard-provider"),
            Some("b")
        );
    };
    let (stream, ()) = tokio::join!(stream, change);
    assert!(stream.is_done());
    assert_eq!(stream.head.header("x-switchyard-provider"), Some("a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c04_a_storm_of_reloads_harms_nobody() {
    let (a, b) = (mock("a").await, mock("b").await);
    let gateway = pair(&a, &b, "").await;
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    let storm = async {
        for round in 0..20 {
            let weight = format!("weight = {}", 100_000 + round);
            std::fs::write(
                gateway.config_path(),
                text.replace("weight = 100000", &weight),
            )
            .unwrap();
            let (status, _) = reload(&gateway).await;
            assert_eq!(status, 200);
        }
    };
    let asking = async {
        for _ in 0..60 {
            let answer = gateway.ask("p").await;
            assert_eq!(answer.status(), 200, "{}", answer.json());
        }
    };
    tokio::join!(storm, asking);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n02_an_inside_address_that_is_written_down_is_meant_and_a_name_that_leads_there_is_not() {
    let a = mock("a").await;
    let plain = provider("a", &a).replace("allow_private_address = true\n", "");
    let pool = "[pools.p]\ntargets = [\"a/m-a\"]\n";
    let gateway = Gateway::start(&format!("{plain}{pool}")).await;
    assert_eq!(gateway.ask("p").await.status(), 200);

    let server = NameServer::start().await.unwrap();
    server.say("inside.example", Says::Addresses(vec![Ipv4Addr::LOCALHOST]));
    let named = plain.replace("127.0.0.1", "inside.example");
    let resolvers = format!("[egress]\nresolvers = [\"{}\"]\n", server.address());
    let gateway = Gateway::start(&format!("{named}{pool}{resolvers}")).await;
    let refused = gateway.ask("p").await;
    assert_eq!(refused.status(), 502);
    let told = refused.json()["error"]["message"].to_string();
    assert!(
        told.contains("no address that the gateway may use"),
        "{told}"
    );
    assert_eq!(a.requests(), 1, "and nobody was called");
}
