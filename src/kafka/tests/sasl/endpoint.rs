//! Tokens that an endpoint gives.

use super::*;

/// A token endpoint that answers each request with the next of these; how often it was asked.
async fn endpoint(answers: Vec<(u16, String)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut some = [0; 4096];
            while !String::from_utf8_lossy(&request).contains("grant_type") {
                let count = stream.read(&mut some).await.unwrap();
                assert!(count > 0, "the request has no form");
                request.extend_from_slice(&some[..count]);
            }
            seen.lock()
                .unwrap()
                .push(String::from_utf8(request).unwrap());
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    (url, asked)
}

fn client(url: String) -> Given {
    given(|secret_file| {
        let client = ClientCredentials {
            url,
            id: String::from("gate"),
            secret_file,
            scope: Some(String::from("kafka read")),
            ca: None,
        };
        Credentials::Token {
            source: TokenSource::Endpoint(client),
            extensions: Extensions::default(),
        }
    })
}

#[tokio::test]
async fn a_token_of_an_endpoint_is_kept_while_it_is_good_and_forgotten_when_refused() {
    let token = |name: &str| {
        (
            200,
            format!(r#"{{"access_token":"{name}","expires_in":300}}"#),
        )
    };
    let (url, asked) = endpoint(vec![token("one"), token("two")]).await;
    let address = listener(&["OAUTHBEARER"], |message| {
        let one = message.starts_with(b"n,,\x01auth=Bearer one\x01");
        if message == b"\x01" {
            refusal("no")
        } else if one {
            done("{}")
        } else {
            done("")
        }
    })
    .await;
    let given = client(url);
    let login = Arc::new(Login::new(given.credentials.clone()).unwrap());
    let settings = ConnectionSettings {
        login: Some(login),
        ..ConnectionSettings::default()
    };
    let open = || Connection::open(&TcpDial, &address, &settings);
    let failure = open().await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Authentication, "{failure}");
    open().await.unwrap();
    open().await.unwrap();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    let pair = STANDARD.encode(format!("gate:{SECRET}"));
    let request = asked[0].to_lowercase();
    assert!(asked[0].contains(&format!("Basic {pair}")));
    assert!(request.starts_with("post /token"), "{request}");
    assert!(asked[0].ends_with("grant_type=client_credentials&scope=kafka+read"));
}

#[tokio::test]
async fn an_endpoint_that_gives_no_token_is_no_word_about_the_node() {
    let address = listener(&["OAUTHBEARER"], |_| done("")).await;
    let echo = format!(r#"{{"error":"invalid_client","error_description":"not {SECRET}"}}"#);
    for (status, body, word) in [
        (401, echo, "invalid_client: not ***"),
        (500, String::from("oops"), "HTTP status 500"),
        (302, String::new(), "HTTP status 302"),
        (200, String::from("{}"), "no access_token"),
        (
            200,
            String::from(r#"{"access_token":"a\u0001b"}"#),
            "no token",
        ),
        (200, "x".repeat(300_000), "larger than 262144 bytes"),
    ] {
        let (url, _) = endpoint(vec![(status, body)]).await;
        let given = client(url.clone());
        let login = Arc::new(Login::new(given.credentials.clone()).unwrap());
        let settings = ConnectionSettings {
            login: Some(login),
            ..ConnectionSettings::default()
        };
        let failure = Connection::open(&TcpDial, &address, &settings)
            .await
            .unwrap_err();
        let class = if word.starts_with("larger") {
            FailureClass::TooLarge(Cap::TokenBytes)
        } else {
            FailureClass::Authentication
        };
        assert_eq!((failure.class, class.sign()), (class, Sign::Nothing));
        assert!(failure.detail.contains(word), "{failure}");
        assert!(failure.detail.contains(&url), "{failure}");
        assert!(!failure.detail.contains(SECRET), "{failure}");
    }
}

#[tokio::test]
async fn a_failure_of_the_endpoint_is_everybodys_for_a_moment() {
    let address = listener(&["OAUTHBEARER"], |_| done("")).await;
    // It answers once, and nobody listens after that: another question would be told apart.
    let (url, asked) = endpoint(vec![(503, String::from("busy"))]).await;
    let given = client(url);
    let settings = ConnectionSettings {
        login: Some(Arc::new(Login::new(given.credentials.clone()).unwrap())),
        ..ConnectionSettings::default()
    };
    let open = || async { Connection::open(&TcpDial, &address, &settings).await.err() };
    let (one, two, three) = tokio::join!(open(), open(), open());
    let one = one.unwrap();
    assert!(one.detail.contains("HTTP status 503"), "{one}");
    assert_eq!(one.class, FailureClass::Authentication);
    assert_eq!((two.as_ref(), three.as_ref()), (Some(&one), Some(&one)));
    assert_eq!(asked.lock().unwrap().len(), 1);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let later = open().await.unwrap();
    assert!(!later.detail.contains("HTTP status 503"), "{later}");
}
