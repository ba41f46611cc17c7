//! The object store: bytes by key, in a folder of this machine or in a bucket. Knows nothing of
//! what the bytes are.
//!
//! A store that is away is waited for only so long, and then it is the caller's turn to try
//! again: API-009.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    ClientConfigKey, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutPayload,
    RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    local::LocalFileSystem,
    path::Path as Key,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use url::Url;

use crate::error::{Code, Error, Result};

/// One try of one request to a remote store.
const REQUEST: Duration = Duration::from_secs(30);
/// To reach it, or to tell it that an upload is over.
const CONNECT: Duration = Duration::from_secs(5);
/// A small object's whole way, with its tries.
const OBJECT: Duration = Duration::from_secs(60);
/// A large file moves in parts of so many bytes, each with [`OBJECT`] as its time.
const PART: usize = 8 * 1024 * 1024;

/// The object store.
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Before every key.
    prefix: Key,
    /// The store's URL, without a slash at its end.
    url: String,
}

impl Objects {
    /// What `url` names, which settings have checked; a folder of `data_dir` where there is none.
    /// A bucket is not asked for anything yet.
    ///
    /// # Errors
    /// API-009 when the folder can't be made or the `AWS_*` variables can't be used.
    pub fn open(url: Option<&Url>, data_dir: &Path) -> Result<Self> {
        match url {
            Some(url) if url.scheme() == "s3" => Self::bucket(url),
            Some(url) => {
                let folder = url
                    .to_file_path()
                    .map_err(|()| Error::invalid("the object store's URL names no folder"))?;
                Self::folder(&folder)
            }
            None => Self::folder(&data_dir.join("objects")),
        }
    }

    fn folder(folder: &Path) -> Result<Self> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| Error {
            cause: Some(e),
            ..Error::new(Code::Unavailable, format!("can't use the folder {}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(|e| failed(e.into()))?;
        let folder = folder.canonicalize().map_err(|e| failed(e.into()))?;
        let url = Url::from_file_path(&folder).map_or_else(|()| "file:".into(), String::from);
        let store = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|e| failed(e.into()))?
            .with_fsync(true);
        Ok(Self { store: Arc::new(store), prefix: Key::default(), url })
    }

    fn bucket(url: &Url) -> Result<Self> {
        let failed = |e: object_store::Error| Error {
            cause: Some(e.into()),
            ..Error::new(
                Code::Unavailable,
                format!("{url} can't be used: are AWS_REGION, AWS_ENDPOINT and the keys right?"),
            )
        };
        let (timeout, seconds) =
            (AmazonS3ConfigKey::Client, |t: Duration| format!("{}s", t.as_secs()));
        let bucket = url.host_str().unwrap_or_default();
        let prefix = Key::from_url_path(url.path())
            .map_err(|e| Error::invalid(format!("the object store's prefix: {e}")))?;
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_config(timeout(ClientConfigKey::Timeout), seconds(REQUEST))
            .with_config(timeout(ClientConfigKey::ConnectTimeout), seconds(CONNECT))
            .with_retry(RetryConfig {
                max_retries: 2,
                retry_timeout: REQUEST,
                ..RetryConfig::default()
            })
            .build()
            .map_err(failed)?;
        let url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { store: Arc::new(store), prefix, url })
    }

    /// Where an object is, for people: `s3://bucket/key`, `file:///folder/key`.
    #[must_use]
    pub fn url(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }

    fn key(&self, key: &str) -> Key {
        self.prefix.parts().chain(Key::from(key).parts()).collect()
    }

    /// Stores an object, whole or not at all; durable when this returns.
    ///
    /// # Errors
    /// API-009.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let key = self.key(key);
        within(OBJECT, self.store.put(&key, PutPayload::from_bytes(bytes)))
            .await?
            .map(|_| ())
            .ok_or_else(no_bucket)
    }

    /// An object's bytes, if there is one.
    ///
    /// # Errors
    /// API-009.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let key = self.key(key);
        within(OBJECT, async { self.store.get(&key).await?.bytes().await }).await
    }

    /// An object's size and its bytes from `offset` on, if there is one. What breaks off in the
    /// middle is an error of the stream.
    ///
    /// # Errors
    /// API-009, also when `offset` is behind its end.
    pub async fn read(
        &self,
        key: &str,
        offset: u64,
    ) -> Result<Option<(u64, BoxStream<'static, Result<Bytes>>)>> {
        let key = self.key(key);
        let Some(meta) = within(OBJECT, self.store.head(&key)).await? else { return Ok(None) };
        if offset == meta.size {
            return Ok(Some((meta.size, futures_util::stream::empty().boxed())));
        }
        let range = Some(GetRange::Offset(offset));
        let options = GetOptions { range, ..GetOptions::default() };
        let object = within(OBJECT, self.store.get_opts(&key, options)).await?;
        Ok(object.map(|object| {
            let broken = |e: object_store::Error| Error {
                cause: Some(e.into()),
                ..Error::new(Code::Unavailable, "the object store broke off; try again")
            };
            (meta.size, object.into_stream().map_err(broken).boxed())
        }))
    }

    /// Removes an object; that there is none is fine.
    ///
    /// # Errors
    /// API-009.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let key = self.key(key);
        within(OBJECT, self.store.delete(&key)).await.map(|_| ())
    }

    /// The keys of the objects below `folder`, at most `limit` of them, in no order.
    ///
    /// # Errors
    /// API-009.
    pub async fn list(&self, folder: &str, limit: usize) -> Result<Vec<String>> {
        let folder = self.key(folder);
        let all = self.store.list(Some(&folder)).take(limit).try_collect::<Vec<_>>();
        let found = within(OBJECT, all).await?.unwrap_or_default();
        let own = self.prefix.parts().count();
        let key = |location: &Key| location.parts().skip(own).collect::<Key>().to_string();
        Ok(found.iter().map(|meta| key(&meta.location)).collect())
    }

    /// Stores a file, part by part; it is there when all of it is.
    ///
    /// # Errors
    /// API-009, also when the file can't be read.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<()> {
        let key = self.key(key);
        let mut file = tokio::fs::File::open(path).await.map_err(|e| disk(path, e))?;
        let upload = within(OBJECT, self.store.put_multipart(&key)).await?;
        let mut upload = upload.ok_or_else(no_bucket)?;
        let sent = async {
            let mut first = true;
            loop {
                let mut part = Vec::with_capacity(PART);
                let mut rest = (&mut file).take(PART as u64);
                rest.read_to_end(&mut part).await.map_err(|e| disk(path, e))?;
                if part.is_empty() && !first {
                    let done = within(OBJECT, upload.complete()).await?;
                    return done.map(|_| ()).ok_or_else(no_bucket);
                }
                first = false;
                let taken = within(OBJECT, upload.put_part(PutPayload::from(part))).await?;
                taken.ok_or_else(no_bucket)?;
            }
        };
        let sent = sent.await;
        if sent.is_err() {
            // What is left of it costs room; it is no object.
            let _ = timeout(CONNECT, upload.abort()).await;
        }
        sent
    }

    /// Fetches an object into a file of at most `most` bytes; whether there was one.
    ///
    /// # Errors
    /// API-009, also when the file can't be written; API-001 when the object is larger.
    pub async fn get_file(&self, key: &str, path: &Path, most: u64) -> Result<bool> {
        let key = self.key(key);
        let Some(object) = within(OBJECT, self.store.get(&key)).await? else {
            return Ok(false);
        };
        let mut file = tokio::fs::File::create(path).await.map_err(|e| disk(path, e))?;
        let mut stream = object.into_stream();
        let mut size = 0;
        while let Some(chunk) = within(OBJECT, stream.try_next()).await?.flatten() {
            size += chunk.len() as u64;
            if size > most {
                return Err(Error::invalid(format!("the object has more than {most} bytes")));
            }
            file.write_all(&chunk).await.map_err(|e| disk(path, e))?;
        }
        file.flush().await.map_err(|e| disk(path, e))?;
        Ok(true)
    }
}

/// `None` where there is no such object.
async fn within<T>(
    time: Duration,
    asked: impl Future<Output = object_store::Result<T>>,
) -> Result<Option<T>> {
    let away = |cause: Box<dyn std::error::Error + Send + Sync>, message: &'static str| Error {
        cause: Some(cause),
        ..Error::new(Code::Unavailable, message)
    };
    match timeout(time, asked).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
        Ok(Err(
            e @ (object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }),
        )) => {
            Err(away(e.into(), "the object store does not let the hub in; its keys are settings"))
        }
        Ok(Err(e)) => Err(away(e.into(), "the object store can't be reached; try again")),
        Err(e) => Err(away(e.into(), "the object store does not answer; try again")),
    }
}

fn no_bucket() -> Error {
    Error::new(Code::Unavailable, "the object store's bucket or folder is not there")
}

fn disk(path: &Path, cause: std::io::Error) -> Error {
    Error {
        cause: Some(cause.into()),
        ..Error::new(Code::Unavailable, format!("{} can't be read or written", path.display()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_keeps_what_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let url = Url::from_file_path(dir.path().join("objects")).unwrap();
        let objects = Objects::open(Some(&url), dir.path()).unwrap();
        assert_eq!(objects.get("a/b").await.unwrap(), None);
        assert!(objects.list("a", 10).await.unwrap().is_empty());
        objects.put("a/b", Bytes::from_static(b"first")).await.unwrap();
        objects.put("a/b", Bytes::from_static(b"second")).await.unwrap();
        assert_eq!(objects.get("a/b").await.unwrap().unwrap(), "second");
        assert_eq!(objects.list("a", 10).await.unwrap(), ["a/b"]);
        assert_eq!(objects.url("a/b"), format!("{url}/a/b"));
        objects.delete("a/b").await.unwrap();
        objects.delete("a/b").await.unwrap();
        assert_eq!(objects.get("a/b").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_file_goes_and_comes_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(None, dir.path()).unwrap();
        let (there, back) = (dir.path().join("there"), dir.path().join("back"));
        // An exact number of parts is the case in which a part would be empty.
        for size in [0, 1, PART, PART + 1] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            std::fs::write(&there, &bytes).unwrap();
            objects.put_file("files/f", &there).await.unwrap();
            assert!(objects.get_file("files/f", &back, size as u64).await.unwrap());
            assert!(std::fs::read(&back).unwrap() == bytes, "{size}");
        }
        let refused = objects.get_file("files/f", &back, PART as u64).await.unwrap_err();
        assert_eq!(refused.code, Code::Invalid);
        assert!(!objects.get_file("files/other", &back, 1).await.unwrap());
    }
}
