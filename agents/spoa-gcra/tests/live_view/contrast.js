(() => {
    // "rgb(1, 2, 3)", "rgba(1, 2, 3, 0.5)" or "color(srgb …)", as [r, g, b, opacity].
    const parse = (text) => {
        const numbers = text.match(/[\d.]+/g).map(Number);
        return [...numbers.slice(0, 3), numbers[3] ?? 1];
    };
    const over = (upper, lower) => {
        const mixed = [0, 1, 2].map((i) => upper[i] * upper[3] + lower[i] * (1 - upper[3]));
        return [...mixed, 1];
    };
    const behind = (element) => {
        if (!element) return [255, 255, 255, 1];
        const own = parse(getComputedStyle(element).backgroundColor);
        return own[3] === 1 ? own : over(own, behind(element.parentElement));
    };
    const luminance = (color) => {
        const [r, g, b] = color.slice(0, 3).map((value) => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const poor = [];
    let texts = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const style = getComputedStyle(element);
        const seen = element.checkVisibility({ visibilityProperty: true }) && !element.closest(".unseen, .skip, script, style, noscript");
        if (!seen || walker.currentNode.textContent.trim() === "") continue;
        texts += 1;
        const ground = behind(element);
        const drawn = element instanceof SVGElement ? style.fill : style.color;
        const [light, dark] = [luminance(over(parse(drawn), ground)), luminance(ground)].sort((a, b) => b - a);
        const contrast = (light + 0.05) / (dark + 0.05);
        if (contrast < 4.5) poor.push(`${walker.currentNode.textContent.trim()}: ${contrast.toFixed(2)}`);
    }
    return texts < 50 ? [`only ${texts} texts`] : poor;
})()
