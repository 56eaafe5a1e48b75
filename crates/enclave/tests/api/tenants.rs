//! Servers that know tenants: who is let in, and who waits.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use casemate_enclave::{ApiKeysFile, TenantLimits, Tenants};

use crate::stub::{Answer, Behaviour, CHAT, COMPLETIONS, Served, chat_body, post, serve_tenants};

struct Case {
    served: Served,
    a: String,
    b: String,
}

fn case(behaviour: Behaviour, limits: TenantLimits) -> Case {
    let mut file = ApiKeysFile::default();
    let a = file.add("a", limits, None, [1; 32]).unwrap().key;
    let b = file.add("b", TenantLimits::NONE, Some(1_700_000_000), [2; 32]).unwrap().key;
    Case { served: serve_tenants(behaviour, Tenants::new(&file, [7; 32])), a, b }
}

impl Case {
    async fn chat(&self, headers: &[(&str, &str)]) -> Answer {
        let mut request = post(CHAT, chat_body(serde_json::json!({})).to_string());
        for (name, value) in headers {
            request
                .headers_mut()
                .append(header::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        self.served.send(request).await
    }
}

#[tokio::test]
async fn a_key_lets_its_tenant_in() {
    let case = case(Behaviour::Echo, TenantLimits::NONE);
    let bearer = format!("Bearer {}", case.a);
    for headers in [
        ("authorization", bearer.as_str()),
        ("Authorization", &bearer.replace("Bearer", "bearer")),
        ("x-api-key", &case.a),
    ] {
        assert_eq!(case.chat(&[headers]).await.status, StatusCode::OK);
        assert!(case.served.stub.last().tenant.is_some());
    }
}

#[tokio::test]
async fn without_a_good_key_nothing_is_read() {
    let case = case(Behaviour::Echo, TenantLimits::NONE);
    let (a, b) = (format!("Bearer {}", case.a), format!("Bearer {}", case.b));
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[], "request.key.missing"),
        (&[("authorization", "Bearer")], "request.key.missing"),
        (&[("authorization", "Basic YTpi")], "request.key.missing"),
        (&[("authorization", &a), ("authorization", &a)], "request.key.missing"),
        (&[("authorization", &a), ("x-api-key", &case.a)], "request.key.missing"),
        (&[("authorization", "Bearer x")], "request.key.unknown"),
        (&[("x-api-key", "")], "request.key.unknown"),
        (&[("x-api-key", &a)], "request.key.unknown"),
        (&[("authorization", &b)], "request.key.expired"),
    ];
    for (headers, code) in cases {
        let answer = case.chat(headers).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, code), "{headers:?}");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(answer.json()["error"]["type"], "authentication_error");
    }
    for path in ["/infer", COMPLETIONS, "/v1/embeddings", "/tokenize", "/detokenize"] {
        assert_eq!(case.served.post(path, "not even JSON").await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(case.served.get("/v1/models").await.status, StatusCode::UNAUTHORIZED);
    // What verifies and watches a server needs none.
    for path in ["/health", "/ready", "/metrics", "/attest", "/openapi.json"] {
        assert_eq!(case.served.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(case.served.get("/v1/other").await.status, StatusCode::NOT_FOUND);
    assert_eq!(case.served.state.metrics.request_body_bytes(), 0);
    assert!(case.served.stub.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_tenant_waits_when_it_uses_what_it_may() {
    let limits = TenantLimits { requests_per_minute: Some(2), ..TenantLimits::NONE };
    let case1 = case(Behaviour::Echo, limits);
    let bearer = format!("Bearer {}", case1.a);
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(case1.chat(&headers).await.status, StatusCode::OK);
    assert_eq!(case1.chat(&headers).await.status, StatusCode::OK);
    let answer = case1.chat(&headers).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "request.tenant.requests"));
    let seconds: u64 = answer.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");

    // A chat of the stub has 2 tokens of prompt and 3 of answer.
    let limits = TenantLimits { tokens_per_minute: Some(4), ..TenantLimits::NONE };
    let case2 = case(Behaviour::Echo, limits);
    let bearer = format!("Bearer {}", case2.a);
    assert_eq!(case2.chat(&[("authorization", &bearer)]).await.status, StatusCode::OK);
    let answer = case2.chat(&[("authorization", &bearer)]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "request.tenant.tokens"));
}

#[tokio::test]
async fn requests_at_the_same_time_are_counted_to_their_end() {
    let limits = TenantLimits { concurrent: Some(1), ..TenantLimits::NONE };
    let case = case(Behaviour::Hang, limits);
    let bearer = format!("Bearer {}", case.a);
    let body = chat_body(serde_json::json!({"stream": true})).to_string();
    let request = || {
        Request::post(CHAT)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, &bearer)
            .body(Body::from(body.clone()))
            .unwrap()
    };
    let running = tower::ServiceExt::oneshot(case.served.router.clone(), request()).await.unwrap();
    assert_eq!(running.status(), StatusCode::OK);
    let answer = case.served.send(request()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "request.tenant.concurrent"));
    // The client goes away.
    drop(running);
    case.served.stub.wait_until_cancelled().await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let next = tower::ServiceExt::oneshot(case.served.router.clone(), request()).await.unwrap();
        if next.status() == StatusCode::OK {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the place is never free");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
