//! A client that goes away ends its generation.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;

use crate::stub::{Behaviour, CHAT, chat_body, listen, post, raw_post, serve};

#[tokio::test]
async fn dropping_the_response_cancels_the_generation() {
    let served = serve(Behaviour::Hang);
    let request = post(CHAT, chat_body(json!({"stream": true})).to_string());
    let response = served.router.clone().oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b"data: "));
    assert!(!served.stub.cancelled.load(Ordering::Acquire));
    drop(body);
    served.stub.wait_until_cancelled().await;
}

#[tokio::test]
async fn dropping_the_request_cancels_the_generation() {
    let served = serve(Behaviour::Hang);
    let call = served.router.clone().oneshot(post("/infer", r#"{"prompt":"a"}"#));
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    served.stub.wait_until_cancelled().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_the_generation() {
    for body in [json!({"prompt": "a"}), chat_body(json!({})), chat_body(json!({"stream": true}))] {
        let served = serve(Behaviour::Hang);
        let address = listen(&served).await;
        let path = if body.get("prompt").is_some() { "/infer" } else { CHAT };
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(&raw_post(path, &body.to_string())).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while served.stub.seen.lock().unwrap().is_empty() {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(!served.stub.cancelled.load(Ordering::Acquire));
        drop(client);
        served.stub.wait_until_cancelled().await;
    }
}
