//! What the benchmarks compare with: the same answers from a plain hyper server with SQLite, as a
//! careful developer would write it by hand. It has no limits, no isolation and no swaps.
//!
//! ```text
//! native ADDRESS DATABASE
//! GET  /hello                 a constant
//! GET  /cart?user_id=         {"cart": {product: quantity}}
//! POST /cart                  {"user_id", "product_id", "quantity"}, one durable transaction each
//! ```

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

type Answer = anyhow::Result<(StatusCode, &'static str, Bytes)>;

/// One connection that writes, and as many that read as were ever needed at once.
struct Carts {
    file: String,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("usage: native ADDRESS DATABASE")?;
    let carts = Arc::new(Carts::open(arguments.next().context("usage: native ADDRESS DATABASE")?)?);
    let listener = TcpListener::bind(&address).await?;
    eprintln!("native: http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let carts = carts.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(carts.clone(), request));
            // A client that goes away is no error of the server's.
            let _ended =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    carts: Arc<Carts>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, content_type, body) = match route(carts, request).await {
        Ok(answer) => answer,
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error:#}\n").into())
        }
    };
    let response = Response::builder().status(status).header("content-type", content_type);
    Ok(response.body(Full::new(body)).expect("a constant head"))
}

async fn route(carts: Arc<Carts>, request: Request<Incoming>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/hello") => {
            Ok((StatusCode::OK, "text/plain", Bytes::from_static(b"Hello, world!\n")))
        }
        (&Method::GET, "/cart") => {
            let query = request.uri().query().unwrap_or_default();
            let user = query.strip_prefix("user_id=").context("no user_id")?.to_owned();
            let cart = tokio::task::spawn_blocking(move || carts.read(&user)).await??;
            Ok((StatusCode::OK, "application/json", json!({ "cart": cart }).to_string().into()))
        }
        (&Method::POST, "/cart") => {
            let body = request.into_body().collect().await?.to_bytes();
            let item: Value = serde_json::from_slice(&body)?;
            tokio::task::spawn_blocking(move || carts.add(&item)).await??;
            let success = Bytes::from_static(br#"{"message":"success"}"#);
            Ok((StatusCode::OK, "application/json", success))
        }
        _ => Ok((StatusCode::NOT_FOUND, "text/plain", Bytes::new())),
    }
}

impl Carts {
    fn open(file: String) -> anyhow::Result<Self> {
        let writer = connect(&file)?;
        writer.execute_batch(
            "CREATE TABLE IF NOT EXISTS cart (user TEXT, product TEXT, quantity INTEGER, \
             PRIMARY KEY (user, product)) WITHOUT ROWID",
        )?;
        Ok(Self { file, writer: Mutex::new(writer), readers: Mutex::default() })
    }

    fn read(&self, user: &str) -> anyhow::Result<Map<String, Value>> {
        let pooled = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match pooled {
            Some(reader) => reader,
            None => connect(&self.file)?,
        };
        let cart = {
            let mut select =
                reader.prepare_cached("SELECT product, quantity FROM cart WHERE user = ?1")?;
            let rows =
                select.query_map([user], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.into())))?;
            rows.collect::<Result<_, _>>()?
        };
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        Ok(cart)
    }

    fn add(&self, item: &Value) -> anyhow::Result<()> {
        let field = |name: &str| {
            item[name].as_i64().ok_or_else(|| anyhow!("{name} is missing or no number"))
        };
        let (user, product) = (field("user_id")?.to_string(), field("product_id")?.to_string());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer
            .prepare_cached(
                "INSERT INTO cart VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity",
            )?
            .execute(params![user, product, field("quantity")?])?;
        Ok(())
    }
}

fn connect(file: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}
