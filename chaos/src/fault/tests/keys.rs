//! Section 3 on the wire.

use super::*;

#[tokio::test]
async fn k01_k02_k03_k04_each_refusal_has_its_status_and_code() {
    let revoked = answer("K01", OpenAi).await;
    assert_eq!(
        (revoked.status(), revoked.json()["error"]["code"].as_str()),
        (401, Some("invalid_api_key"))
    );
    assert_eq!(
        kind_of(&answer("K01", Anthropic).await),
        "authentication_error"
    );
    assert_eq!(
        (
            answer("K02/403", OpenAi).await.status(),
            answer("K02/404", Anthropic).await.status()
        ),
        (403, 404)
    );
    let quota = answer("K03/insufficient_quota", OpenAi).await;
    assert_eq!(
        (quota.status(), kind_of(&quota)),
        (429, "insufficient_quota".into())
    );
    assert_eq!(answer("K03/402", Anthropic).await.status(), 402);
    let limits = answer("K03/usage_limits", Anthropic).await;
    let message = limits.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    let day = &crate::http1::rfc3339(crate::http1::unix_now() + 3 * 86_400)[..10];
    assert!(
        limits.status() == 400 && message.contains("reached your specified API usage limits"),
        "{message}"
    );
    assert!(
        message.contains(&format!("regain access on {day}")),
        "{message}"
    );
    let suspended = answer("K04", OpenAi).await;
    assert_eq!(
        (
            suspended.status(),
            suspended.json()["error"]["code"].as_str()
        ),
        (403, Some("account_deactivated"))
    );
}

#[tokio::test]
async fn k02_a_rule_hits_one_model_only() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.when(
        |asked| asked.model() == Some("mock-model"),
        by_number("K02", OpenAi).unwrap(),
    );
    assert_eq!(ask(&mock).await.unwrap().status(), 403);
    let mut other = OpenAi.sample_request("hello", false);
    other["model"] = "mock-small".into();
    assert_eq!(
        client(&mock)
            .await
            .post_json(OpenAi.path(), &[], &other)
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn k05_a_rule_makes_one_key_hot() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.when(
        |asked| asked.key() == Some("sk-a"),
        by_number("K05", OpenAi).unwrap(),
    );
    let hot = ask_with(&mock, "hello", "sk-a").await.unwrap();
    assert_eq!(
        (hot.status(), hot.header("x-ratelimit-remaining-requests")),
        (200, Some("0"))
    );
    assert_eq!(
        ask_with(&mock, "hello", "sk-b")
            .await
            .unwrap()
            .header("x-ratelimit-remaining-requests"),
        None
    );
}

#[tokio::test]
async fn k06_every_key_cools_for_a_time_of_its_own() {
    let mock = showing("K06", OpenAi).await;
    // 'b' is 98, 'a' is 97.
    assert_eq!(
        ask_with(&mock, "hello", "sk-b")
            .await
            .unwrap()
            .header("retry-after"),
        Some("2")
    );
    assert_eq!(
        ask_with(&mock, "hello", "sk-a")
            .await
            .unwrap()
            .header("retry-after"),
        Some("5")
    );
}

#[tokio::test]
async fn k08_tokens_are_short_lived_slow_or_refused() {
    let mock = MockProvider::start(MockOptions::default()).await.unwrap();
    mock.when(
        |asked| asked.bare_path() == "/token",
        k08_token(60, Duration::from_millis(80)),
    );
    let mut client = client(&mock).await;
    let request = client.request("POST", "/token", &[], b"grant_type=refresh_token");
    let mut tokens = Vec::new();
    for _ in 0..2 {
        client.send(&request).await.unwrap();
        let answer = client.read_answer().await.unwrap();
        assert!(answer.head.at >= Duration::from_millis(80));
        assert_eq!(answer.json()["expires_in"], 60);
        tokens.push(answer.json()["access_token"].clone());
    }
    assert_ne!(tokens[0], tokens[1]);
    assert_eq!(
        answer("K08/refresh_fails", OpenAi).await.json()["error"],
        "invalid_grant"
    );
    assert!(
        wire("K08/refresh_slow", OpenAi, false).await.is_empty(),
        "five seconds of nothing"
    );
}

#[tokio::test]
async fn k10_the_limit_shrinks_with_the_second_answer() {
    let fields = [
        (OpenAi, "x-ratelimit-limit-requests"),
        (Anthropic, "anthropic-ratelimit-requests-limit"),
        (Dialect::Responses, "x-ratelimit-limit-requests"),
    ];
    for (dialect, field) in fields {
        let mock = showing("K10", dialect).await;
        for limit in ["500", "50"] {
            assert_eq!(ask(&mock).await.unwrap().header(field), Some(limit));
        }
    }
}
