//! A writer with blobs of its own: what was put last is what is read.

use super::{Unknown, Way, is_unknown};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};

const BLOBS: usize = 3;

pub struct Blobs {
    way: Way,
    writer: u64,
    contents: [Option<Bytes>; BLOBS],
}

impl Blobs {
    pub fn new(way: Way, writer: u64) -> Self {
        Self { way, writer, contents: Default::default() }
    }

    pub async fn step(&mut self, random: &mut StdRng) -> Unknown {
        let blob = random.random_range(0..BLOBS);
        let name = self.name(blob);
        match random.random_range(0..10) {
            0..4 => {
                match self.way.spoilt.blobs.get(&name).await {
                    Ok(content) => assert!(content == self.contents[blob], "{name}: another content"),
                    Err(error) => assert!(is_unknown(&error), "get: {error:?}"),
                }
                0
            }
            4..8 => {
                let mut content = vec![0; random.random_range(0..20_000)];
                random.fill_bytes(&mut content);
                let content = Bytes::from(content);
                let result = self.way.spoilt.blobs.put(&name, content.clone()).await;
                self.changed(blob, Some(content), result).await
            }
            _ => {
                let result = self.way.spoilt.blobs.delete(&name).await;
                self.changed(blob, None, result).await
            }
        }
    }

    async fn changed(
        &mut self,
        blob: usize,
        content: Option<Bytes>,
        result: Result<(), adxingestor::storage::Error>,
    ) -> Unknown {
        match result {
            Ok(()) => {
                self.contents[blob] = content;
                0
            }
            Err(error) if is_unknown(&error) => {
                let found = self.way.direct.blobs.get(&self.name(blob)).await.unwrap();
                assert!(found == content || found == self.contents[blob], "neither the old nor the new content");
                self.contents[blob] = found;
                1
            }
            Err(error) => panic!("{}: {error:?}", self.name(blob)),
        }
    }

    /// Panics unless the blobs hold what was put last.
    pub async fn check(&self) {
        for (blob, content) in self.contents.iter().enumerate() {
            let name = self.name(blob);
            assert!(self.way.direct.blobs.get(&name).await.unwrap() == *content, "{name}: another content");
        }
    }

    fn name(&self, blob: usize) -> String {
        format!("{}/w{}/b{blob}", self.way.run, self.writer)
    }
}
