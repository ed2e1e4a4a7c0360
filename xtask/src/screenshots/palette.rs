//! Pictures of pages as files that a repository bears: of 256 colours. A page has few, and
//! shades between them where letters end; nobody sees that those are rounded.

use std::collections::HashMap;
use std::io::Cursor;

use anyhow::{Context as _, Result, bail};
use png::{BitDepth, ColorType, Compression, Decoder, Encoder};

type Color = [u8; 3];

/// The same picture, opaque, with the colours that are most of it.
pub(super) fn reduced(picture: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Decoder::new(Cursor::new(picture)).read_info()?;
    let size = reader.output_buffer_size().context("too big a picture")?;
    let mut bytes = vec![0; size];
    let info = reader.next_frame(&mut bytes)?;
    let channels = match (info.color_type, info.bit_depth) {
        (ColorType::Rgb, BitDepth::Eight) => 3,
        (ColorType::Rgba, BitDepth::Eight) => 4,
        other => bail!("a picture of {other:?}"),
    };
    let pixels = bytes.chunks_exact(channels).filter_map(|pixel| {
        let color: Option<&Color> = pixel.first_chunk();
        color.copied()
    });
    let pixels: Vec<Color> = pixels.collect();

    let palette = most_frequent(&pixels);
    let mut known = HashMap::new();
    let indices: Vec<u8> = pixels
        .iter()
        .map(|&color| {
            *known
                .entry(color)
                .or_insert_with(|| nearest(&palette, color))
        })
        .collect();

    let mut written = Vec::new();
    let mut encoder = Encoder::new(&mut written, info.width, info.height);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::High);
    encoder.set_palette(palette.concat());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&indices)?;
    writer.finish()?;
    Ok(written)
}

/// 256 at most.
fn most_frequent(pixels: &[Color]) -> Vec<Color> {
    let mut counts: HashMap<Color, u32> = HashMap::new();
    for color in pixels {
        *counts.entry(*color).or_default() += 1;
    }
    let mut colors: Vec<_> = counts.into_iter().collect();
    // And by colour, so that the same picture is the same file.
    colors.sort_by_key(|(color, count)| (std::cmp::Reverse(*count), *color));
    colors.truncate(256);
    colors.into_iter().map(|(color, _)| color).collect()
}

fn nearest(palette: &[Color], color: Color) -> u8 {
    let distance = |other: &Color| -> u32 {
        let parts = other.iter().zip(color);
        parts.map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
    };
    let best = (0..=u8::MAX)
        .zip(palette)
        .min_by_key(|(_, other)| distance(other));
    best.map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_what_they_are_and_rare_ones_become_the_nearest() {
        let mut rgb: Vec<u8> = [250, 10, 10].repeat(300);
        for shade in 0..=255 {
            rgb.extend([shade, shade, shade].repeat(2));
        }
        // 257 colours with the red: this one is the rarest.
        rgb.extend([250, 12, 10]);
        let (width, height) = (813, 1);
        let mut picture = Vec::new();
        let mut encoder = Encoder::new(&mut picture, width, height);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&rgb).unwrap();
        writer.finish().unwrap();

        let reduced = reduced(&picture).unwrap();
        assert!(reduced.len() < 5000);
        let mut decoder = Decoder::new(Cursor::new(reduced));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut bytes).unwrap();
        let pixels: Vec<_> = bytes.chunks_exact(3).collect();
        assert_eq!(pixels[0], [250, 10, 10]);
        assert_eq!(pixels[300 + 2 * 7], [7, 7, 7]);
        assert_eq!(pixels[812], [250, 10, 10]);
    }
}
