//! Sky, clouds and the skyline: what is too far to move.

use super::draw::{Rgb, lerp, mix, noise, smoothstep};
use super::scene::Scene;
use super::texture::Textures;

/// Colour of the direction with these slopes (right, down), where the road heads to `heading`.
pub(super) fn colour(
    scene: &Scene,
    textures: &Textures,
    ray: [f32; 2],
    heading: f32,
    pixel: f32,
) -> Rgb {
    let light = &scene.light;
    let [right, down] = ray;
    let up = -down;
    let azimuth = right + heading;
    let mut colour = mix(light.horizon, light.zenith, smoothstep(-0.05, 0.75, up.max(0.0)));
    if light.clouds > 0.0 && up > 0.0 {
        // A flat layer of clouds, seen ever flatter towards the horizon.
        let far = 1.0 / (up + 0.5);
        let c = light.cloud_scale;
        let (x, y) = (azimuth * far * c, far * c);
        let foot = pixel * far * c;
        let n = textures.cloud.sample(x, y, foot, foot * far)
            + 0.4 * textures.cloud.sample(x * 3.7 + 31.0, y * 3.7, foot * 3.7, foot * far * 3.7);
        let cover = smoothstep(0.35 - light.clouds, 1.1 - 0.6 * light.clouds, n + 0.3);
        let white = mix(light.cloud, light.horizon, (0.6 * n).clamp(0.0, 0.8));
        colour = mix(colour, white, cover * (0.3 + 0.6 * light.clouds) * smoothstep(0.0, 0.12, up));
    }
    for (layer, &height) in light.skyline.iter().enumerate() {
        let seed = scene.seed ^ (61 + layer as u32);
        let steep = if layer == 0 { 2.0 } else { 5.0 };
        let ridge = height
            * (0.6
                + 0.6 * noise(seed, azimuth * steep)
                + 0.3 * noise(seed ^ 8, azimuth * steep * 4.1))
            + 0.006 * noise(seed ^ 16, azimuth * 60.0);
        let cover = ((ridge - up) / pixel + 0.5).clamp(0.0, 1.0);
        if cover > 0.0 {
            let fine =
                textures.cloud.sample(azimuth * 400.0, up * 700.0, pixel * 400.0, pixel * 700.0);
            let air = lerp(0.65, 0.35, layer as f32);
            let body = light.skyline_colour.map(|c| c * light.tint[1] * (1.0 + 0.35 * fine));
            colour = mix(colour, mix(body, light.horizon, air), cover);
        }
    }
    colour
}
