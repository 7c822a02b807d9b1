//! The HTTP server over a raw socket.

use crate::served::*;

const CHECK: &str = "/api/v1/gates/default/check";

#[tokio::test]
async fn the_status_is_the_verdict() {
    for (view, state, status) in [
        (open(), "open", 200),
        (closed(), "closed", 503),
        (unknown(), "unknown", 503),
    ] {
        let served = serve(view).await;
        for method in ["GET", "POST", "HEAD"] {
            let got = served.send(method, CHECK, "", "").await;
            assert_eq!(got.status, status, "{method} {state}");
            assert_eq!(got.header("upgrade-gate-state"), Some(state));
            assert_eq!(got.header("cache-control"), Some("no-store"));
            assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(got.header("retry-after").is_some(), state != "open");
        }
        let document = served.get("/api/v1/gates/default").await;
        assert_eq!(
            (document.status, &document.json()["state"]),
            (200, &state.into())
        );
    }
}
